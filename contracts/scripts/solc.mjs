#!/usr/bin/env node
// The Solidity compiler from npm (WASM), dressed as the command line that forge expects. It needs no network and no
// native binary: `--version` and `--standard-json` are all that forge asks of it.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";

const solc = createRequire(import.meta.url)("solc");
const args = process.argv.slice(2);

if (args.includes("--version")) {
  // forge parses the native compiler's version line.
  console.log("solc, the solidity compiler commandline interface");
  console.log(`Version: ${solc.version().replace("Emscripten.clang", "Linux.g++")}`);
} else if (args.includes("--standard-json")) {
  process.stdout.write(solc.compile(readFileSync(0, "utf8")));
} else {
  console.error(`solc.mjs: unsupported arguments: ${args.join(" ")} (only --version and --standard-json)`);
  process.exit(1);
}
