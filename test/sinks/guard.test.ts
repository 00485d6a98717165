import { describe, expect, test } from 'vitest'
import { addressRule } from '../../src/sinks/addresses.js'
import { targetUrl } from '../../src/approvals/webhook.js'
import { Guard } from '../../src/sinks/guard.js'

const judge = addressRule([])

test.each([
  '0.0.0.0',
  '0.1.2.3',
  '10.0.0.1',
  '100.64.0.1',
  '100.100.100.200',
  '100.127.255.255',
  '127.0.0.1',
  '127.255.255.254',
  '168.63.129.16',
  '169.254.169.254',
  '172.16.0.1',
  '172.31.255.255',
  '192.0.0.192',
  '192.0.2.1',
  '192.88.99.1',
  '192.168.1.1',
  '198.18.0.1',
  '198.19.255.255',
  '198.51.100.7',
  '203.0.113.9',
  '224.0.0.1',
  '239.255.255.255',
  '240.0.0.1',
  '255.255.255.255',
  '::',
  '::1',
  '0:0:0:0:0:0:0:1',
  '::127.0.0.1',
  '::ffff:127.0.0.1',
  '::ffff:7f00:1',
  '0:0:0:0:0:ffff:10.0.0.1',
  '::ffff:0:127.0.0.1',
  '64:ff9b::127.0.0.1',
  '64:ff9b::a9fe:a9fe',
  '64:ff9b:1::1',
  '64:ff9b:1:7f00:1::',
  '100::1',
  '2001::1',
  '2001:0:4136:e378:8000:63bf:3fff:fdd2',
  '2001:db8::1',
  '2002:7f00:1::',
  '2002:a9fe:a9fe::1',
  '3fff::1',
  '5f00::1',
  'fc00::1',
  'fd00:ec2::254',
  'fd20:ce::254',
  'fe80::1',
  'fe80::1%eth0',
  '2606:4700:4700::1111%eth0',
  'febf::1',
  'fec0::1',
  'ff02::1',
  'ff0e::1',
  'localhost',
  '',
  '1.2.3',
])('%s is not public', (address) => expect(judge(address)).toBe('refused'))

test.each([
  '1.1.1.1',
  '9.255.255.255',
  '11.0.0.0',
  '100.63.255.255',
  '100.128.0.0',
  '126.255.255.255',
  '128.0.0.1',
  '172.15.255.255',
  '172.32.0.0',
  '192.167.255.255',
  '223.255.255.255',
  '2606:4700:4700::1111',
  '2a00:1450:4001:80e::200e',
  '::ffff:1.1.1.1',
  '64:ff9b::101:101',
])('%s is public', (address) => expect(judge(address)).toBe('public'))

test('networks that are allowed may be reached, in whatever form the address comes, and nothing beside them', () => {
  const allowing = addressRule(['10.1.0.0/16', '127.0.0.1', 'fd00:1::/32'])
  expect(['10.1.2.3', '127.0.0.1', '::ffff:10.1.2.3', '64:ff9b::a01:203', 'fd00:1::5'].map(allowing)).toEqual(
    Array(5).fill('allowed'),
  )
  expect(['10.2.0.1', '127.0.0.2', 'fd00:2::5', '169.254.169.254', '::1'].map(allowing)).toEqual(
    Array(5).fill('refused'),
  )
})

describe('targets', () => {
  const answering = (...addresses: string[]) => {
    const asked: string[] = []
    const guard = new Guard(['10.1.0.0/16'], async (name) => {
      asked.push(name)
      return addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 }))
    })
    return { guard, asked }
  }
  const refused = expect.objectContaining({ code: 'WEBHOOK_TARGET_REFUSED', pointer: '/url' }) as Error

  test.each([
    'not an address',
    '/path',
    'ftp://example.org/',
    'file:///etc/passwd',
    'javascript:alert(1)',
    'data:text/plain,x',
    'https://user@example.org/',
    'https://user:secret@example.org/',
    'https://example.org/#part',
    `https://example.org/${'x'.repeat(2048)}`,
  ])('%s is refused unseen', (target) => expect(() => targetUrl(target)).toThrow(refused))

  // What the parser of URLs makes of these is an address inside; the name service is never asked.
  test.each([
    'https://127.0.0.1/',
    'https://127.1/',
    'https://0x7f.0.0.1/',
    'https://017700000001/',
    'https://2130706433/',
    'https://0/',
    'https://１２７.0.0.1/',
    'https://[::1]/',
    'https://[::ffff:127.0.0.1]/',
    'https://[::ffff:7f00:1]/',
    'https://169.254.169.254/latest/meta-data/',
    'https://[fd00:ec2::254]/',
    'https://10.0.0.1:8443/',
  ])('%s leads inside', async (target) => {
    const { guard, asked } = answering('1.1.1.1')
    await expect(guard.resolve(target)).rejects.toEqual(refused)
    expect(asked).toEqual([])
  })

  test.each([
    [['127.0.0.1']],
    [['1.1.1.1', '127.0.0.1']],
    [['2606:4700:4700::1111', '::1']],
    [['1.1.1.1', '::ffff:169.254.169.254']],
    [['10.1.0.1', '10.2.0.1']],
  ])('a name that leads to %j is refused', async (addresses) => {
    await expect(answering(...addresses).guard.resolve('https://example.org/')).rejects.toEqual(refused)
  })

  test('a name that leads to public addresses is taken, all of them', async () => {
    const { guard } = answering('1.1.1.1', '2606:4700:4700::1111')
    expect((await guard.resolve('https://example.org/hook?x=1')).addresses).toEqual([
      { address: '1.1.1.1', family: 4 },
      { address: '2606:4700:4700::1111', family: 6 },
    ])
  })

  test.each(['http://example.org/', 'https://example.org:22/', 'https://example.org:80/', 'http://1.1.1.1/'])(
    '%s is refused on the public Internet',
    async (target) => {
      await expect(answering('1.1.1.1').guard.resolve(target)).rejects.toEqual(refused)
      if (!target.includes('1.1.1.1')) await expect(answering('10.1.0.9').guard.resolve(target)).resolves.toBeDefined()
    },
  )

  test('HTTP to a name that leads to an allowed network and to the Internet is refused', async () => {
    await expect(answering('10.1.0.9', '1.1.1.1').guard.resolve('http://example.org/')).rejects.toEqual(refused)
  })

  test.each(['https://example.org/', 'https://example.org:8443/', 'https://example.org:1024/'])(
    '%s is taken',
    async (target) => expect(await answering('1.1.1.1').guard.resolve(target)).toBeDefined(),
  )

  test('a name without an address says so', async () => {
    const unresolved = expect.objectContaining({ code: 'WEBHOOK_TARGET_UNRESOLVED' }) as Error
    await expect(answering().guard.resolve('https://example.org/')).rejects.toEqual(unresolved)
    const failing = new Guard([], async () => {
      throw Object.assign(new Error('no'), { code: 'ENOTFOUND' })
    })
    await expect(failing.resolve('https://example.org/')).rejects.toEqual(unresolved)
  })
})
