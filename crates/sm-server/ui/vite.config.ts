// Builds the page into dist/, which is committed: the same sources and versions give the same bytes, on every machine.

import { readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { gzipSync } from "fflate";
import { type Plugin, defineConfig } from "vite";

/** Where the build goes: `cargo xtask ui --check` compares one elsewhere with what is committed. */
const outDir = process.env.SM_UI_OUT ?? "dist";

/** All browsers that run the page read WOFF2. */
const onlyWoff2: Plugin = {
  name: "only-woff2",
  enforce: "pre",
  transform(code, id) {
    if (!/katex.*\.css$/.test(id)) return undefined;
    return code.replace(/,\s*url\([^)]*\.(?:woff|ttf)\)\s*format\([^)]*\)/g, "");
  },
};

/** The licences of what the script contains, which ask to be passed on with it. */
function licences(): string {
  const { dependencies } = JSON.parse(readFileSync("package.json", "utf8")) as { dependencies: Record<string, string> };
  const texts = Object.keys(dependencies).sort().map((name) => {
    const folder = join("node_modules", name);
    const { version, license } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
    const files = readdirSync(folder).filter((file) => /^licen[cs]e/i.test(file)).sort();
    const text = files.map((file) => readFileSync(join(folder, file), "utf8").trim()).join("\n\n");
    return `${name} ${version} (${license})\n\n${text}\n`;
  });
  return texts.join(`\n${"-".repeat(80)}\n\n`);
}

/** Compresses what is embedded. fflate is JavaScript: zlib's output differs between processors and versions of Node. */
const compress: Plugin = {
  name: "compress",
  apply: "build",
  closeBundle() {
    writeFileSync(join(outDir, "ui/licences.txt"), licences());
    for (const name of ["page.js", "page.css", "licences.txt"]) {
      const path = join(outDir, "ui", name);
      writeFileSync(`${path}.gz`, gzipSync(readFileSync(path), { level: 9, mtime: 0 }));
      rmSync(path);
    }
  },
};

export default defineConfig({
  base: "./",
  plugins: [onlyWoff2, compress],
  build: {
    outDir,
    emptyOutDir: true,
    target: "es2022",
    // The page's policy allows files of the server, and no data: URLs.
    assetsInlineLimit: 0,
    assetsDir: "ui",
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 1000,
    rollupOptions: {
      output: {
        entryFileNames: "ui/page.js",
        assetFileNames: ({ names }) => (names[0]?.endsWith(".css") ? "ui/page.css" : "ui/[name][extname]"),
      },
    },
  },
});
