import { defineConfig, type Plugin } from "vite";

/** One file: its script and its style inside, so that versions cannot mix and a policy can name both by their hashes. */
function inlined(): Plugin {
  return {
    name: "inlined",
    enforce: "post",
    generateBundle(_, bundle) {
      let script = "";
      let style = "";
      for (const [name, file] of Object.entries(bundle)) {
        if (file.type === "chunk") script += file.code;
        else if (name.endsWith(".css")) style += String(file.source);
        else continue;
        delete bundle[name];
      }
      const page = bundle["index.html"];
      if (page?.type !== "asset") throw new Error("there is no page");
      // Replaced by functions: a `$&` in the code means nothing here.
      const html = String(page.source)
        .replace(/<script type="module"[^>]*><\/script>\s*/, "")
        .replace(/<link rel="stylesheet"[^>]*>\s*/, "")
        .replace("</head>", () => `<style>${style.trim()}</style>\n  </head>`)
        .replace("</body>", () => `<script type="module">${script.trim()}</script>\n  </body>`);
      page.source = html.replace(/\n\s*\n/g, "\n");
    },
  };
}

export default defineConfig({
  base: "./",
  server: {
    // A running server, for everything but the page.
    proxy: { "^/(ws|fray\\.v1\\..*)": { target: process.env.FRAY_URL ?? "http://127.0.0.1:7777", ws: true } },
  },
  build: {
    target: "es2022",
    modulePreload: false,
    cssCodeSplit: false,
    assetsInlineLimit: 0,
    reportCompressedSize: false,
  },
  plugins: [inlined()],
});
