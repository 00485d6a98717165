import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { expect, test } from 'vitest'
import { readConfig, settings, settingsTable } from '../src/config.js'
import { root } from './support/root.js'

test('every setting has a default, so that no variable is needed', () => {
  const config = readConfig({})
  expect(Object.keys(config)).toEqual(Object.keys(settings))
  expect(config).toMatchObject({
    home: resolve('.countersign'),
    databaseUrl: undefined,
    keyFile: resolve('.countersign/keys.json'),
    httpHost: '127.0.0.1',
    fonts: [],
  })
})

test('what is set is read, and places inside the home follow it', () => {
  const config = readConfig({
    COUNTERSIGN_HOME: '/srv/audit',
    COUNTERSIGN_REPORTS_DIR: '/srv/reports',
    COUNTERSIGN_HTTP_PORT: '0',
    COUNTERSIGN_PUBLIC_URL: 'https://audit.example.org/',
    COUNTERSIGN_TRUSTED_PROXIES: '10.0.0.0/8, 192.0.2.7,fd00::/8',
    COUNTERSIGN_FONTS: '/fonts/a.ttf:/fonts/b.ttf',
    COUNTERSIGN_LOG_LEVEL: '',
    DATABASE_URL: 'postgres://ada:pw@db.example.org/audit',
  })
  expect(config).toMatchObject({
    home: '/srv/audit',
    keyFile: '/srv/audit/keys.json',
    reportsDir: '/srv/reports',
    httpPort: 0,
    publicUrl: 'https://audit.example.org',
    trustedProxies: ['10.0.0.0/8', '192.0.2.7', 'fd00::/8'],
    fonts: ['/fonts/a.ttf', '/fonts/b.ttf'],
    logLevel: 'info',
    databaseUrl: 'postgres://ada:pw@db.example.org/audit',
  })
})

test.each([
  { variable: 'DATABASE_URL', text: 'mysql://root:hunter2@db' },
  { variable: 'COUNTERSIGN_HTTP_PORT', text: '65536' },
  { variable: 'COUNTERSIGN_HTTP_PORT', text: 'tcp://10.0.0.1:4700' },
  { variable: 'COUNTERSIGN_POOL_SIZE', text: '0' },
  { variable: 'COUNTERSIGN_QUEUE_LIMIT_EVENTS', text: '1e4' },
  { variable: 'COUNTERSIGN_BODY_LIMIT_BYTES', text: '-1' },
  { variable: 'COUNTERSIGN_LOG_LEVEL', text: 'loud' },
  { variable: 'COUNTERSIGN_TRUSTED_PROXIES', text: 'proxy.example.org' },
  { variable: 'COUNTERSIGN_TRUSTED_PROXIES', text: '10.0.0.0/33' },
  { variable: 'COUNTERSIGN_TRUSTED_PROXIES', text: '10.0.0.1,' },
  { variable: 'COUNTERSIGN_PUBLIC_URL', text: 'audit.example.org' },
])('$variable=$text is refused by name, without repeating what may be a secret', ({ variable, text }) => {
  let caught: unknown
  try {
    readConfig({ [variable]: text })
  } catch (error) {
    caught = error
  }
  expect(caught).toMatchObject({ code: 'CONFIG_INVALID' })
  expect(String(caught)).toContain(variable)
  expect(String(caught)).not.toContain('hunter2')
})

test('the page of settings lists each of them as it is', () => {
  const page = readFileSync(join(root, 'docs', 'settings.md'), 'utf8')
  const rows = page.split('\n').filter((line) => /^\| `[A-Z]/.test(line))
  const normal = (row: string) => row.replaceAll(/\s+/g, ' ').trim()
  expect(rows.map(normal)).toEqual(settingsTable().map(normal))
})
