#!/usr/bin/env node
// Compiles PTC and PSC and writes their artifacts (ABI and bytecode) to crates/contracts/artifacts, where `cargo build`
// reads them without any Solidity compiler; or, with --check, compares them with the committed ones.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { foundryBinary, projectRoot } from "./foundry.mjs";

const CONTRACTS = ["PTC", "PSC"];
const folder = join(dirname(projectRoot), "crates", "contracts", "artifacts");

const mode = process.argv[2];
if (mode !== "--write" && mode !== "--check") {
  console.error("usage: artifacts.mjs --write | --check");
  process.exit(1);
}

const scratch = mkdtempSync(join(tmpdir(), "privatix-artifacts-"));
let stale = false;
try {
  const build = spawnSync(
    foundryBinary("forge"),
    ["build", "src", "--out", join(scratch, "out"), "--cache-path", join(scratch, "cache"), "--quiet"],
    { cwd: projectRoot, stdio: ["ignore", "inherit", "inherit"] },
  );
  if (build.status !== 0) throw new Error(`forge build failed with status ${build.status}`);

  for (const name of CONTRACTS) {
    const full = JSON.parse(readFileSync(join(scratch, "out", `${name}.sol`, `${name}.json`), "utf8"));
    const artifact = {
      contractName: name,
      abi: full.abi,
      bytecode: { object: full.bytecode.object },
      deployedBytecode: { object: full.deployedBytecode.object },
    };
    const text = JSON.stringify(artifact, null, 2) + "\n";
    const path = join(folder, `${name}.json`);
    if (mode === "--write") {
      mkdirSync(folder, { recursive: true });
      writeFileSync(path, text);
      console.log(`${name}: ${(full.deployedBytecode.object.length - 2) / 2} bytes of code -> ${path}`);
    } else if (!existsSync(path) || readFileSync(path, "utf8") !== text) {
      console.error(`${path} differs from what the sources compile to: run \`npm run artifacts\` in ${projectRoot}`);
      stale = true;
    }
  }
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
process.exit(stale ? 1 : 0);
