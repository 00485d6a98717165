import { afterAll, beforeAll, expect, test } from 'vitest'
import { ADMIN, AUDITOR, permissions } from '../../src/auth/permissions.js'
import { readPage, tableRows } from '../support/markdown.js'
import { testService, type TestService } from '../support/service.js'

let service: TestService
beforeAll(async () => {
  service = await testService()
})
afterAll(() => service.close())

const page = readPage('docs/api.md')
const section = (title: string): string =>
  new RegExp(`^## ${title}\n(.*?)(?=^## |$(?![^]))`, 'ms').exec(page)?.[1] ?? ''
const codes = (cell: string | undefined): string[] =>
  [...(cell ?? '').matchAll(/`([^`]+)`/g)].map(([, code = '']) => code)

test('the page of the API lists every permission there is', () => {
  const listed = tableRows(section('Permissions')).flatMap(([permission]) => codes(permission))
  expect(listed.sort()).toEqual(
    [...Object.values(permissions), 'personal/<group>:reveal', 'changes/<kind>:approve'].sort(),
  )
})

test('the page of the API names what the roles of the command line grant', () => {
  const text = section('Permissions').replaceAll('\n', ' ')
  for (const permission of [...ADMIN, ...AUDITOR]) expect(text).toContain(`\`${permission}\``)
})

test('the page of the API lists every route with what it needs', () => {
  const routes = service.service.server.routes
    .filter(({ method, url }) => method !== 'HEAD' && method !== 'OPTIONS' && !url.startsWith('/docs/'))
    .map(({ method, url, permission }) => `${method} ${url} needs ${permission ?? 'public'}`)
  const listed = tableRows(section('Routes')).map(
    ([route, needs]) => `${codes(route)[0]} needs ${codes(needs)[0] ?? needs}`,
  )
  expect(listed.sort()).toEqual(routes.sort())
})
