#!/usr/bin/env node
// Applies the one-line mutants of mutants.json to a copy of the contracts, one at a time, and runs the tests by behaviour
// (not those of gas limits, and not the random market) against each. Fails when a mutant survives.
//
// usage: mutate.mjs [--sample N [--seed S]] [--from I] [--file PART] [--only I]
import { spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { foundryBinary, projectRoot } from "./foundry.mjs";

function option(name) {
  const at = process.argv.indexOf(name);
  return at < 0 ? undefined : process.argv[at + 1];
}

// A whole number of an option, not below 0.
function number(name, otherwise) {
  const text = option(name);
  if (text === undefined && !process.argv.includes(name)) return otherwise;
  if (!/^\d+$/.test(text ?? "")) usage(`${name} needs a number`);
  return Number(text);
}

function usage(why) {
  console.error(`${why}\nusage: mutate.mjs [--sample N [--seed S]] [--from I] [--file PART] [--only I]`);
  process.exit(2);
}

let mutants = JSON.parse(readFileSync(join(projectRoot, "mutants.json"), "utf8")).map((mutant, index) => ({ ...mutant, index }));
const only = number("--only");
if (only !== undefined) {
  mutants = mutants.filter(({ index }) => index === only);
  if (mutants.length === 0) usage(`there is no mutant ${only}`);
}
const part = option("--file");
if (part) mutants = mutants.filter(({ file }) => file.includes(part));
mutants = mutants.slice(number("--from", 0));
const all = mutants.length;
const sample = Math.min(number("--sample", all), all);
// Evenly over the list, so that every file has its share; the seed shifts the choice, so that each mutant has its turn.
const shift = number("--seed", 0) % Math.max(all, 1);
const rank = (index) => Math.floor((index * sample + shift) / all);
mutants = mutants.filter((_, index) => rank(index + 1) > rank(index));
if (mutants.length === 0) usage("no mutant is left by these options");

const scratch = mkdtempSync(join(tmpdir(), "privatix-mutants-"));
for (const name of ["src", "test", "scripts", "foundry.toml", "package.json"]) {
  cpSync(join(projectRoot, name), join(scratch, name), { recursive: true });
}
symlinkSync(join(projectRoot, "node_modules"), join(scratch, "node_modules"));
for (const folder of ["gas", "invariant"]) rmSync(join(scratch, "test", folder), { recursive: true, force: true });

function forge(...args) {
  // Without the optimizer: it takes most of the compiler's time, and behaviour does not depend on it.
  const env = { ...process.env, FOUNDRY_OPTIMIZER: "false" };
  // A limit, so that a compiler or a mutant that hangs does not hang the whole run.
  const run = spawnSync(foundryBinary("forge"), args, {
    cwd: scratch,
    encoding: "utf8",
    maxBuffer: 1 << 28,
    env,
    timeout: 300_000,
    killSignal: "SIGKILL",
  });
  if (run.error) fail(`forge did not end: ${run.error.message}`);
  return run;
}

function fail(why) {
  console.error(why);
  rmSync(scratch, { recursive: true, force: true });
  process.exit(1);
}

const survivors = [];
try {
  const first = forge("test", "-j", "1");
  if (first.status !== 0) fail(`the tests fail without any mutant:\n${first.stdout}\n${first.stderr}`);
  for (const { index, file, find, replace } of mutants) {
    const path = join(scratch, file);
    const source = readFileSync(path, "utf8");
    if (source.split(find).length !== 2) fail(`mutant ${index}: ${file} does not contain once: ${find}`);
    writeFileSync(path, source.replace(find, () => replace));
    const run = forge("test", "-j", "1", "--fail-fast");
    writeFileSync(path, source);
    if (/Compiler run failed/.test(run.stdout + run.stderr)) fail(`mutant ${index} does not compile: ${file}: ${find}`);
    const killed = run.status !== 0;
    console.log(`${killed ? "killed  " : "SURVIVED"} ${index} ${file}: ${find.trim().split("\n")[0]} -> ${replace.trim().split("\n")[0]}`);
    if (!killed) survivors.push(index);
  }
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
console.log(`${mutants.length - survivors.length} of ${mutants.length} mutants killed`);
if (survivors.length > 0) {
  console.error(`survivors: ${survivors.join(", ")}`);
  process.exit(1);
}
