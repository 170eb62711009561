// Where the pinned Foundry binaries lie, and a clear message when they do not.
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

export const projectRoot = dirname(dirname(fileURLToPath(import.meta.url)));

const architectures = { x64: "amd64", arm64: "arm64" };

export function foundryBinary(name) {
  const platform = `${process.platform}-${architectures[process.arch] ?? process.arch}`;
  const extension = process.platform === "win32" ? ".exe" : "";
  const path = join(projectRoot, "node_modules", "@foundry-rs", `${name}-${platform}`, "bin", name + extension);
  if (!existsSync(path)) {
    console.error(`${name} is not installed at ${path}: run \`npm ci\` in ${projectRoot}`);
    process.exit(1);
  }
  return path;
}
