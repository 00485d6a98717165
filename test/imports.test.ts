import { spawnSync } from 'node:child_process'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { root } from './support/root.js'

const folders: string[] = []
afterEach(async () => {
  for (const folder of folders.splice(0)) await rm(folder, { recursive: true })
})

/** Runs the check on a tree of one file. */
async function checkFile(file: string, content: string): Promise<{ status: number | null; output: string }> {
  const folder = await mkdtemp(join(tmpdir(), 'countersign-imports-'))
  folders.push(folder)
  await mkdir(join(folder, dirname(file)), { recursive: true })
  await writeFile(join(folder, file), content)
  return check(folder)
}

function check(folder: string): { status: number | null; output: string } {
  const run = spawnSync(process.execPath, [join(root, 'bin', 'check-imports.mjs'), folder], { encoding: 'utf8' })
  return { status: run.status, output: run.stdout + run.stderr }
}

test('the code keeps the import rules', () => {
  const { status, output } = check(root)
  expect(output).toMatch(/^Import rules: \d\d+ files, 0 findings\n$/)
  expect(status).toBe(0)
})

test.each([
  { file: 'src/ledger/append.ts', content: "import { serve } from '../http/server.js'\n", why: 'upwards' },
  { file: 'src/ledger/append.ts', content: "import type { Server } from '../http/server.js'\n", why: 'types upwards' },
  {
    file: 'src/ledger/append.ts',
    content: "import {\n  seal,\n  open,\n} from '../keyring/seal.js'\n",
    why: 'on many lines',
  },
  { file: 'src/ledger/append.ts', content: "const http = await import('../http/server.js')\n", why: 'dynamically' },
  { file: 'src/ledger/append.ts', content: "export { serve } from '../http/server.js'\n", why: 'by re-export' },
  { file: 'src/ledger/append.ts', content: "import '../http/server.js'\n", why: 'for effect' },
  { file: 'src/http/server.ts', content: "import { main } from '../main.js'\n", why: 'a process' },
  { file: 'src/cli/verify.ts', content: "import { main } from '../main.js'\n", why: 'a process, from another command' },
  {
    file: 'src/http/routes/log.ts',
    content: "import { openDatabase } from '../../db/database.js'\n",
    why: 'past the ledger',
  },
  {
    file: 'src/consent/commands.ts',
    content: "import { x } from '../privacy/commands.js'\n",
    why: "another's commands",
  },
  {
    file: 'src/consent/consent.ts',
    content: "import { x } from '../approvals/commands/apply.js'\n",
    why: "another's commands in a folder",
  },
  {
    file: 'workflows/a.ts',
    content: "import { x } from '../src/approvals/governed.js'\n",
    why: 'a domain beyond its nouns',
  },
  {
    file: 'migrations/1-a.ts',
    content: "import { DomainError } from '../src/errors.js'\n",
    why: 'ours, in a migration',
  },
  { file: 'migrations/2-b.ts', content: "import { up } from './1-a.js'\n", why: 'another migration' },
  {
    file: 'workflows/a.ts',
    content: "import { type A } from '../src/activities/a.js'\n",
    why: 'an import that survives',
  },
  { file: 'reports/csv.ts', content: "import { x } from '../src/http/problem.js'\n", why: 'the edge, from a report' },
  { file: 'src/ledger/x.ts', content: "import { x } from '../../test/support/root.js'\n", why: 'what does not ship' },
  { file: 'src/ledger/index.ts', content: 'export const x = 1\n', why: 'a barrel' },
  { file: 'src/http/server.ts', content: 'const port = process.env.PORT\n', why: 'the environment' },
  { file: 'src/novelty/x.ts', content: "import { x } from '../ledger/x.js'\n", why: 'a part without a rule' },
])('$file is refused: $why', async ({ file, content }) => {
  const { status, output } = await checkFile(file, content)
  expect(output).toContain(`${file}:`)
  expect(status).toBe(1)
})

test.each([
  { file: 'src/http/routes/log.ts', content: "import type { Db } from '../../db/database.js'\n" },
  { file: 'src/http/routes/log.ts', content: "import { log } from '../../ledger/read.js'\n" },
  { file: 'src/cli/up.ts', content: "import { main } from '../main.js'\n" },
  { file: 'src/consent/commands.ts', content: "import { hold } from '../privacy/hold.js'\n" },
  { file: 'src/ledger/gate.ts', content: "import { DomainError } from '../errors.js'\n" },
  { file: 'src/ledger/gate.ts', content: "// import { x } from '../http/server.js'\n" },
  { file: 'workflows/a.ts', content: "import type { A } from '../src/activities/a.js'\n" },
  { file: 'migrations/1-a.ts', content: "import { sql, type Kysely } from 'kysely'\n" },
  { file: 'reports/audit-trail.ts', content: "import { read } from '../src/ledger/read.js'\n" },
])('$file may say $content', async ({ file, content }) => {
  expect((await checkFile(file, content)).output).toBe('Import rules: 1 files, 0 findings\n')
})
