import { cp, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { root } from '../support/root.js'

type Bundle = (dist: string) => Promise<string>
const { bundleWorkflows } = (await import(pathToFileURL(join(root, 'bin', 'bundle-workflows.mjs')).href)) as {
  bundleWorkflows: Bundle
}
const dist = join(root, 'dist')

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'countersign-test-'))
  await symlink(join(root, 'node_modules'), join(folder, 'node_modules'))
  await writeFile(join(folder, 'package.json'), '{"type":"module"}')
  await mkdir(join(folder, 'dist'))
  for (const part of ['src', 'workflows']) await cp(join(dist, part), join(folder, 'dist', part), { recursive: true })
})
afterEach(() => rm(folder, { recursive: true }))

/** Bundles the compiled workflows with one line more in a file of theirs. */
async function bundledWith(line: string): Promise<string> {
  const index = join(folder, 'dist', 'workflows', 'index.js')
  await writeFile(index, `${line}\n${readFileSync(index, 'utf8')}`)
  return bundleWorkflows(join(folder, 'dist'))
}

test('the compiled workflows reach nothing that the sandbox lacks', async () => {
  const code = await bundleWorkflows(dist)
  expect(readFileSync(join(dist, 'workflow-bundle.js'), 'utf8').length).toBe(code.length)
})

test.each(['node:crypto', 'assert', '../src/ledger/hash.js'])(
  'a workflow that reaches %s stops the build',
  async (module) => {
    await expect(bundledWith(`import * as x from '${module}'; export const y = () => x`)).rejects.toThrow(
      /disallowed modules|Node built-in/,
    )
  },
)

test('a type import that survives compilation drags a file into the sandbox, and is caught', async () => {
  await expect(bundledWith(`import {} from '../src/db/database.js'`)).rejects.toThrow(
    /disallowed modules|Node built-in/,
  )
})
