#!/usr/bin/env node
// Runs the pinned forge from the platform package. npm does not run the packages' postinstall scripts, so the `forge`
// on npm's path is only a stub; the real binary lies in the platform package.
import { spawnSync } from "node:child_process";
import { foundryBinary, projectRoot } from "./foundry.mjs";

const run = spawnSync(foundryBinary("forge"), process.argv.slice(2), { cwd: projectRoot, stdio: "inherit" });
process.exit(run.status ?? 1);
