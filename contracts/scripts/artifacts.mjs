#!/usr/bin/env node
// Compiles the contracts and writes what Rust needs of them, so that `cargo build` needs no Solidity compiler: ABI and
// bytecode of PTC, PSC and the deposit probe to crates/contracts/artifacts, the bytecode of the test tokens to
// crates/testkit/artifacts; or, with --check, compares them with the committed ones.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { foundryBinary, projectRoot } from "./foundry.mjs";

const CONTRACTS = ["PTC", "PSC", "DepositProbe"];
const TOKENS = [
  "UsdcLike",
  "SaltedDomain",
  "NoVersion",
  "WrongSeparator",
  "UsdtLike",
  "DaiLike",
  "MkrLike",
  "FeeOnTransfer",
  "ReturnsFalse",
  "AcceptsAnyPermit",
];
const crates = join(dirname(projectRoot), "crates");

const mode = process.argv[2];
if (mode !== "--write" && mode !== "--check") {
  console.error("usage: artifacts.mjs --write | --check");
  process.exit(1);
}

const scratch = mkdtempSync(join(tmpdir(), "privatix-artifacts-"));
let stale = false;

function compiled(file, name) {
  return JSON.parse(readFileSync(join(scratch, "out", `${file}.sol`, `${name}.json`), "utf8"));
}

function keep(path, content, what) {
  const text = JSON.stringify(content, null, 2) + "\n";
  if (mode === "--write") {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
    console.log(`${what} -> ${path}`);
  } else if (!existsSync(path) || readFileSync(path, "utf8") !== text) {
    console.error(`${path} differs from what the sources compile to: run \`npm run artifacts\` in ${projectRoot}`);
    stale = true;
  }
}

try {
  const build = spawnSync(
    foundryBinary("forge"),
    [
      "build",
      "src",
      "test/tokens",
      "--out",
      join(scratch, "out"),
      "--cache-path",
      join(scratch, "cache"),
      "--quiet",
    ],
    { cwd: projectRoot, stdio: ["ignore", "inherit", "inherit"] },
  );
  if (build.status !== 0) throw new Error(`forge build failed with status ${build.status}`);

  for (const name of CONTRACTS) {
    const full = compiled(name, name);
    const artifact = {
      contractName: name,
      abi: full.abi,
      bytecode: { object: full.bytecode.object },
      // Where the constructor's arguments stand in the code: to be masked when a deployed contract is compared with it.
      deployedBytecode: {
        object: full.deployedBytecode.object,
        immutableReferences: full.deployedBytecode.immutableReferences,
      },
    };
    const size = (full.deployedBytecode.object.length - 2) / 2;
    keep(join(crates, "contracts", "artifacts", `${name}.json`), artifact, `${name}: ${size} bytes of code`);
  }
  const tokens = Object.fromEntries(TOKENS.map((name) => [name, compiled("Tokens", name).bytecode.object]));
  keep(join(crates, "testkit", "artifacts", "tokens.json"), tokens, `${TOKENS.length} test tokens`);
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
process.exit(stale ? 1 : 0);
