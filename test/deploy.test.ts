import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { settings } from '../src/config.js'
import { readPage } from './support/markdown.js'
import { root } from './support/root.js'

const dockerfile = readPage('Dockerfile')
const compose = readPage('docker-compose.yml')
const ignored = readPage('.dockerignore')

const alphabetically = (a = '', b = '') => a.localeCompare(b)

test('the image is built from every folder of sources, and holds everything that the package does', () => {
  const sources = ['bin', 'src', 'migrations', 'reports', 'workflows']
  for (const folder of sources) {
    expect(dockerfile).toMatch(new RegExp(`^COPY ${folder} ${folder}$`, 'm'))
    expect(ignored.split('\n')).toContain(`!${folder}`)
  }
  const { files } = JSON.parse(readPage('package.json')) as { files: string[] }
  for (const file of files.filter((name) => name.startsWith('dist/'))) {
    expect(dockerfile).toContain(`COPY --from=build /app/${file} `)
  }
})

test("the image's system is one that Temporal's library comes for", () => {
  const kept = 'unknown-linux-gnu'
  const releases = readdirSync(join(root, 'node_modules/@temporalio/core-bridge/releases'))
  expect(releases.filter((name) => name.endsWith(kept)).sort()).toEqual([`aarch64-${kept}`, `x86_64-${kept}`])
  expect(dockerfile).toContain(kept)
  expect(dockerfile).not.toContain('alpine')
})

test('the composition names only settings and commands that there are', () => {
  const known = new Set(Object.values(settings).map(({ variable }) => variable))
  for (const page of [compose, dockerfile]) {
    for (const [, name = ''] of page.matchAll(/\b(COUNTERSIGN_[A-Z_]+)\b/g)) expect(known).toContain(name)
  }
  const help = readFileSync(join(root, 'src', 'cli', 'main.ts'), 'utf8')
  const commands = [...compose.matchAll(/command: \['([a-z]+)'\]/g)].map(([, word]) => word)
  expect(commands.toSorted(alphabetically)).toEqual(['migrate', 'serve', 'worker'])
  for (const word of commands) expect(help).toContain(`${word}Command(frame)`)
})

test('what listens without asking who is there has no port of the host', () => {
  const ports = [...compose.matchAll(/^ {6}- '(.*:\d+)'$/gm)].map(([, mapping]) => mapping)
  expect(ports.toSorted(alphabetically)).toEqual(['127.0.0.1:4700:4700', '127.0.0.1:8080:8080'])
})
