#!/usr/bin/env node
// Compiles into dist/ and removes from there what no longer has a source.
import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { writeBundle } from './bundle-workflows.mjs'
import { recordBuild, root, sourceFingerprint } from './prepare.mjs'

const dist = join(root, 'dist')
const fingerprint = sourceFingerprint()

const tsc = spawnSync(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', root], {
  stdio: 'inherit',
})
if (tsc.status !== 0) process.exit(tsc.status ?? 1)

for (const file of existsSync(dist) ? readdirSync(dist, { recursive: true, encoding: 'utf8' }) : []) {
  const source = file.replace(/\.js(\.map)?$/, '.ts')
  if (source !== file && !existsSync(join(root, source))) rmSync(join(dist, file))
}
try {
  await writeBundle(dist)
} catch (error) {
  process.stderr.write(`The workflows cannot be bundled: ${error.message}\n`)
  process.exit(1)
}
recordBuild(fingerprint)
