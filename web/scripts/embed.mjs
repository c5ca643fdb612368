// Checks the built page and puts it where the server embeds it.

import { readFileSync, writeFileSync } from "node:fs";
import { gzipSync } from "node:zlib";

const GZIPPED_BYTES_MAX = 200_000;
const built = new URL("../dist/index.html", import.meta.url);
const embedded = new URL("../../server/assets/index.html", import.meta.url);

const page = readFileSync(built, "utf8");
const problems = [];
const count = (pattern) => page.match(pattern)?.length ?? 0;
if (count(/<script/g) !== 1) problems.push("there must be exactly one <script");
if (count(/<style/g) !== 1) problems.push("there must be exactly one <style");
// Where a link leads is not fetched.
const markup = page.replace(/<(script|style)[\s\S]*?<\/\1>/g, "").replace(/<a\s[^>]*>/g, "<a>");
if (/\son\w+=/i.test(markup)) problems.push("there must be no inline event handlers");
if (/\sstyle=/i.test(markup)) problems.push("there must be no style attributes");
if (/(src|href)="(?!data:)/i.test(markup)) problems.push("there must be nothing to fetch");
const gzipped = gzipSync(page, { level: 9 }).length;
if (gzipped > GZIPPED_BYTES_MAX) problems.push(`${gzipped} bytes gzipped are more than ${GZIPPED_BYTES_MAX}`);
if (problems.length > 0) {
  console.error(problems.join("\n"));
  process.exit(1);
}
writeFileSync(embedded, page);
console.log(`server/assets/index.html: ${page.length} characters, ${gzipped} bytes gzipped`);
