#!/usr/bin/env python3
"""The table of the chart's values, from the comments in helm/values.yaml: chart-values.py README

Puts it between the marks in the README. A comment counts for the keys that follow it without an empty line, up to the next comment.
Fails if a value has no comment at all, neither of its own nor of a key above it.
"""
import re
import sys

KEY = re.compile(r"^( *)([A-Za-z][A-Za-z0-9]*):(?: (.*))?$")
BEGIN, END = "<!-- values: begin -->\n", "<!-- values: end -->\n"


def rows(lines):
    """(path, default, comment) for each key, in order; default is None for keys that have others below them."""
    stack, comment, fresh, found = [], [], True, []
    for line in lines:
        text = line.strip()
        if not text:
            comment, fresh = [], True
            continue
        if text.startswith("#"):
            # A comment after keys is a new one.
            if not fresh:
                comment = []
            comment.append(text.lstrip("# ").rstrip())
            fresh = True
            continue
        match = KEY.match(line)
        if not match:
            sys.exit(f"not understood: {line}")
        depth = len(match[1]) // 2
        # A comment belongs to its own level.
        if stack and depth > len(stack) - 1 and not fresh:
            comment = []
        if depth < len(stack) - 1 and not fresh:
            comment = []
        stack = stack[:depth] + [match[2]]
        found.append((".".join(stack), match[3], " ".join(comment)))
        fresh = False
    return found


def table(found):
    out, described, missing, groups = ["| value | default | |", "| --- | --- | --- |"], set(), [], []
    for path, default, comment in found:
        parent = path.rpartition(".")[0]
        if comment:
            described.add(path)
        above = [path.rsplit(".", n)[0] for n in range(1, path.count(".") + 1)]
        if not comment and not any(name in described for name in above):
            missing.append(path)
        if default is None:
            # What has others below it is worth a row if something is said of it.
            if comment:
                groups.append((None, comment, [(f"**{path}**", "")]))
            continue
        default = f"`{escape(default)}`"
        # Neighbours that one comment is for share a row.
        if groups and groups[-1][:2] == (parent, comment):
            groups[-1][2].append((f"`{path}`", default))
        else:
            groups.append((parent, comment, [(f"`{path}`", default)]))
    if missing:
        sys.exit(f"helm/values.yaml does not say what these are: {', '.join(missing)}")
    for _, comment, members in groups:
        out.append("| " + " | ".join(["<br>".join(cell) for cell in zip(*members)] + [escape(comment)]).replace("  ", " ") + " |")
    return "\n".join(out) + "\n"


def escape(text):
    return text.replace("|", "\\|")


readme = sys.argv[1]
values = open(readme.replace("README.md", "values.yaml"), encoding="utf-8").read().split("\n")
text = open(readme, encoding="utf-8").read()
before, rest = text.split(BEGIN)
_, after = rest.split(END)
# The first lines are about the file.
start = values.index("")
made = table(rows(values[start:]))
open(readme, "w", encoding="utf-8").write(before + BEGIN + made + END + after)
