import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { testDatabase } from '../support/database.js'
import { root } from '../support/root.js'
import { dumpSchema } from '../support/schema.js'

const file = join(root, 'test', 'schema.sql')

const HEAD = `-- The schema that the migrations add up to, as test/support/schema.ts reads it from the catalogue: the same on every
-- PostgreSQL from 15 on. A migration changes it together with this file, so that a reviewer sees what it comes to:
--   npm run build && COUNTERSIGN_UPDATE_SCHEMA=1 npx vitest run dist/test/db/schema.test.js

`

test('the migrations add up to the schema in test/schema.sql', async () => {
  const own = await testDatabase()
  try {
    const schema = HEAD + (await dumpSchema(await own.superuser()))
    if (process.env['COUNTERSIGN_UPDATE_SCHEMA'] === '1') writeFileSync(file, schema)
    expect(schema).toBe(readFileSync(file, 'utf8'))
  } finally {
    await own.close()
  }
})
