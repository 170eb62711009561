#!/usr/bin/env node
// Compiles the contracts and writes what Rust needs of them, so that `cargo build` needs no Solidity compiler: ABI and
// bytecode of PTC, PSC and the deposit probe to crates/contracts/artifacts, the bytecode of the test tokens to
// crates/testkit/artifacts; or, with --check, compares them with the committed ones.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
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

// The syntax trees of the compiler's run that made a contract's code: each run numbers its nodes by itself.
function syntaxTrees(full, name) {
  const [path] = Object.keys(full.metadata.settings.compilationTarget);
  const folder = join(scratch, "out", "build-info");
  for (const file of readdirSync(folder)) {
    const { output } = JSON.parse(readFileSync(join(folder, file), "utf8"));
    const made = output.contracts[path]?.[name]?.evm.deployedBytecode;
    if (`0x${made?.object}` === full.deployedBytecode.object && sameIds(made, full.deployedBytecode)) {
      return Object.values(output.sources).map(({ ast }) => ast);
    }
  }
  throw new Error(`no run of the compiler made the code of ${name}`);
}

function sameIds(...codes) {
  const [one, other] = codes.map(({ immutableReferences }) => Object.keys(immutableReferences ?? {}).sort().join());
  return one === other;
}

// The places of the immutables in the code by the names of their variables, in the order of the names: the compiler's ids
// change with every edit.
function immutablePlaces(references, names) {
  const named = Object.entries(references).map(([id, places]) => {
    if (!names.has(id)) throw new Error(`no immutable variable has the id ${id}`);
    return [names.get(id), places];
  });
  const places = Object.fromEntries(named.sort(([a], [b]) => (a < b ? -1 : 1)));
  if (Object.keys(places).length !== named.length) throw new Error("two immutables have the same name");
  return places;
}

// The names of all immutable variables by their ids in the syntax trees of one compilation.
function immutableNames(node, names = new Map()) {
  if (Array.isArray(node)) {
    for (const child of node) immutableNames(child, names);
  } else if (node !== null && typeof node === "object") {
    if (node.nodeType === "VariableDeclaration" && node.mutability === "immutable") names.set(String(node.id), node.name);
    for (const child of Object.values(node)) immutableNames(child, names);
  }
  return names;
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
      "--ast",
      "--build-info",
      "--quiet",
    ],
    { cwd: projectRoot, stdio: ["ignore", "inherit", "inherit"] },
  );
  if (build.status !== 0) throw new Error(`forge build failed with status ${build.status}`);

  for (const name of CONTRACTS) {
    const full = compiled(name, name);
    const references = full.deployedBytecode.immutableReferences ?? {};
    const artifact = {
      contractName: name,
      abi: full.abi,
      bytecode: { object: full.bytecode.object },
      // Where what the constructor fixes stands in the code: a deployed contract is compared outside of these places.
      deployedBytecode: {
        object: full.deployedBytecode.object,
        immutableReferences: immutablePlaces(references, immutableNames(syntaxTrees(full, name))),
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
