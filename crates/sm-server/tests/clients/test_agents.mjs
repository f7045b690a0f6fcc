// Agents without a terminal: Claude Code, Codex and opencode do a task with a tool call, its result, and an answer from it.
//
// The word that they are asked for is only in a file, so an answer with it shows that the whole loop ran. What is not installed
// is named and left out.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const url = process.env.SM_SCRIPTED_URL;
const question = "Which word is in note.txt?";
const programs = join(dirname(fileURLToPath(import.meta.url)), "node_modules", ".bin");

const agents = {
  claude: {
    args: ["-p", question, "--model", "agents", "--allowedTools", "Bash"],
    env: { ANTHROPIC_BASE_URL: url, ANTHROPIC_API_KEY: "none", CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: "1", DISABLE_AUTOUPDATER: "1" },
  },
  codex: {
    args: [
      "exec",
      "--skip-git-repo-check",
      "--dangerously-bypass-approvals-and-sandbox",
      ...["-c", "model_provider=sm", "-c", "model=agents"],
      ...["-c", `model_providers.sm={name="sm",base_url="${url}/v1",wire_api="responses"}`],
      question,
    ],
    env: { OPENAI_API_KEY: "none" },
  },
  opencode: {
    args: ["run", "-m", "sm/agents", question],
    env: { OPENCODE_DISABLE_MODELS_FETCH: "1", OPENCODE_DISABLE_AUTOUPDATE: "1" },
    files: {
      "opencode.json": {
        provider: {
          sm: {
            npm: "@ai-sdk/openai-compatible",
            options: { baseURL: `${url}/v1`, apiKey: "none" },
            models: { agents: { name: "agents" } },
          },
        },
        model: "sm/agents",
        small_model: "sm/agents",
        autoupdate: false,
        share: "disabled",
      },
    },
  },
};

/** Runs an agent in a folder of its own, and gives what it printed. */
async function answer(name, { args, env, files = {} }) {
  const folder = mkdtempSync(join(tmpdir(), "sm-agent-"));
  try {
    const home = join(folder, "home");
    mkdirSync(home);
    writeFileSync(join(folder, "note.txt"), "saffron\n");
    for (const [file, content] of Object.entries(files)) writeFileSync(join(folder, file), JSON.stringify(content));
    const environment = { PATH: process.env.PATH, HOME: home, CODEX_HOME: home, ...env };
    const child = spawn(join(programs, name), args, { cwd: folder, env: environment, stdio: ["ignore", "pipe", "pipe"], timeout: 300_000 });
    let printed = "";
    child.stdout.on("data", (data) => (printed += data));
    child.stderr.on("data", (data) => (printed += data));
    const status = await new Promise((resolve) => child.on("close", resolve));
    return { status, printed };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

let ran = 0;
for (const [name, agent] of Object.entries(agents)) {
  if (!existsSync(join(programs, name))) {
    console.log("left out", name, "since it is not installed");
    continue;
  }
  const { status, printed } = await answer(name, agent);
  assert.ok(status === 0 && printed.includes("The word is saffron."), `${name} ended with ${status}:\n${printed}`);
  console.log("ok", name);
  ran += 1;
}
assert.ok(ran > 0, "no agent is installed");
