// Packs npm packages from release archives: one for each platform with its program, and `smallmind`, which depends on them all and runs the
// one that npm has installed.
//
//   node pack.mjs VERSION FOLDER    reads FOLDER/sm-cli-TARGET.tar.xz or .zip, writes FOLDER/npm/*.tgz

import { execFileSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, writeFileSync } from "node:fs";
import { basename, join, resolve } from "node:path";

const PLATFORMS = {
  "x86_64-unknown-linux-musl": ["linux", "x64"],
  "aarch64-unknown-linux-musl": ["linux", "arm64"],
  "x86_64-apple-darwin": ["darwin", "x64"],
  "aarch64-apple-darwin": ["darwin", "arm64"],
  "x86_64-pc-windows-msvc": ["win32", "x64"],
};

const RUN = `#!/usr/bin/env node
const { spawnSync } = require("node:child_process");
const name = \`smallmind-\${process.platform}-\${process.arch}/sm\${process.platform === "win32" ? ".exe" : ""}\`;
let program;
try {
  program = require.resolve(name);
} catch {
  console.error(\`smallmind has no program for \${process.platform} on \${process.arch}, or npm has left out optional packages\`);
  process.exit(1);
}
const { status, signal, error } = spawnSync(program, process.argv.slice(2), { stdio: "inherit" });
if (error) throw error;
if (signal) process.kill(process.pid, signal);
process.exit(status);
`;

const [version, folder] = process.argv.slice(2);
if (!version || !folder) {
  console.error("usage: node pack.mjs VERSION FOLDER");
  process.exit(2);
}
const out = resolve(folder, "npm");
mkdirSync(out, { recursive: true });

const common = {
  version,
  description: "Runs language models on your own machine",
  license: "MIT OR Apache-2.0",
  repository: { type: "git", url: "git+https://github.com/smallmind/smallmind.git" },
};

function pack(name, manifest, files) {
  const place = join(out, name);
  mkdirSync(place, { recursive: true });
  writeFileSync(join(place, "package.json"), JSON.stringify({ name, ...common, ...manifest }, null, 2) + "\n");
  for (const [from, to] of files) copyFileSync(from, join(place, to));
  execFileSync("npm", ["pack", "--pack-destination", out], { cwd: place, stdio: ["ignore", "ignore", "inherit"], shell: process.platform === "win32" });
}

const platforms = {};
for (const [target, [os, cpu]] of Object.entries(PLATFORMS)) {
  const archive = ["tar.xz", "zip"].map((kind) => resolve(folder, `sm-cli-${target}.${kind}`)).find(existsSync);
  if (!archive) continue;
  const unpacked = join(out, "unpacked");
  mkdirSync(unpacked, { recursive: true });
  if (archive.endsWith(".zip")) execFileSync("unzip", ["-q", "-o", archive, "-d", unpacked]);
  else execFileSync("tar", ["xJf", archive, "-C", unpacked]);
  const program = os === "win32" ? "sm.exe" : "sm";
  const name = `smallmind-${os}-${cpu}`;
  const manifest = { os: [os], cpu: [cpu], files: [program], preferUnplugged: true };
  pack(name, manifest, [[join(unpacked, basename(archive).replace(/\.(tar\.xz|zip)$/, ""), program), program]]);
  platforms[name] = version;
}
if (Object.keys(platforms).length === 0) throw new Error(`${folder} has no archives sm-cli-TARGET.tar.xz or .zip`);

mkdirSync(join(out, "smallmind"), { recursive: true });
const run = join(out, "sm.cjs");
writeFileSync(run, RUN, { mode: 0o755 });
pack("smallmind", { bin: { sm: "sm.cjs" }, files: ["sm.cjs"], optionalDependencies: platforms }, [[run, "sm.cjs"]]);
console.log(`${Object.keys(platforms).length + 1} packages in ${out}`);
