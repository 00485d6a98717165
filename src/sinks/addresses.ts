import { BlockList, isIP } from 'node:net'

/**
 * Which addresses a request that a tenant asked for may go to: those of the public Internet. What is inside (this
 * machine, its networks, its cloud's metadata) is reached from here alone, so reaching it for others is forbidden.
 */

/** IPv4: the special-purpose addresses (IANA's registry, RFC 6890), and what clouds keep for themselves. */
const INSIDE_V4 = [
  '0.0.0.0/8', // this network
  '10.0.0.0/8',
  '100.64.0.0/10', // carrier-grade NAT; a cloud's metadata too (100.100.100.200)
  '127.0.0.0/8',
  '168.63.129.16/32', // a cloud's wire server, at a public address
  '169.254.0.0/16', // link-local; most clouds' metadata (169.254.169.254)
  '172.16.0.0/12',
  '192.0.0.0/24', // IETF protocol assignments; a cloud's metadata too (192.0.0.192)
  '192.0.2.0/24', // documentation
  '192.88.99.0/24', // 6to4 relays
  '192.168.0.0/16',
  '198.18.0.0/15', // benchmarks
  '198.51.100.0/24', // documentation
  '203.0.113.0/24', // documentation
  '224.0.0.0/4', // multicast
  '240.0.0.0/4', // reserved, and broadcast
]

/** IPv6: nothing but global unicast is public. */
const GLOBAL_UNICAST_V6 = '2000::/3'
const INSIDE_V6 = [
  '2001::/23', // protocol assignments, Teredo among them, which carries an IPv4 address
  '2001:db8::/32', // documentation
  '2002::/16', // 6to4, which carries an IPv4 address
  '3fff::/20', // documentation
]

const insideV4 = blockList(INSIDE_V4)
const insideV6 = blockList(INSIDE_V6)
const globalV6 = blockList([GLOBAL_UNICAST_V6])

/**
 * Makes the question whether an address may be reached.
 * @param networks that may be reached although they are not public, such as `10.1.0.0/16`
 */
export function addressRule(networks: readonly string[]): (address: string) => 'public' | 'allowed' | 'refused' {
  const allowed = blockList(networks)
  return (address) => {
    const plain = unwrap(address)
    const version = isIP(plain)
    if (version === 0 || plain.includes('%')) return 'refused'
    if (holds(allowed, plain)) return 'allowed'
    if (version === 4) return holds(insideV4, plain) ? 'refused' : 'public'
    return holds(globalV6, plain) && !holds(insideV6, plain) ? 'public' : 'refused'
  }
}

/** `::ffff:0:0/96` and `64:ff9b::/96`, as their first six groups. */
const MAPPED = [0, 0, 0, 0, 0, 0xffff].join()
const TRANSLATED = [0x64, 0xff9b, 0, 0, 0, 0].join()

/** The IPv4 address that an IPv6 one stands for, where it is mapped (RFC 4291 §2.5.5.2) or translated (RFC 6052). */
function unwrap(address: string): string {
  const groups = groupsOf(address)
  if (groups === undefined) return address
  const [high = 0, low = 0] = groups.slice(6)
  const prefix = groups.slice(0, 6).join()
  if (prefix !== MAPPED && prefix !== TRANSLATED) return address
  return [high >> 8, high & 255, low >> 8, low & 255].join('.')
}

/** The eight groups of an IPv6 address; undefined for what is none. */
function groupsOf(address: string): number[] | undefined {
  if (isIP(address) !== 6 || address.includes('%')) return undefined
  // The parser of URLs writes every form as hexadecimal groups.
  const text = new URL(`http://[${address}]`).hostname.slice(1, -1)
  const [before = '', after] = text.split('::')
  const groups = (part: string) => (part === '' ? [] : part.split(':').map((group) => Number.parseInt(group, 16)))
  const [head, tail] = [groups(before), groups(after ?? '')]
  return [...head, ...Array<number>(8 - head.length - tail.length).fill(0), ...tail]
}

function blockList(networks: readonly string[]): BlockList {
  const list = new BlockList()
  for (const network of networks) {
    const [address = '', bits] = network.split('/')
    const family = isIP(address) === 6 ? 'ipv6' : 'ipv4'
    list.addSubnet(address, bits === undefined ? (family === 'ipv6' ? 128 : 32) : Number(bits), family)
  }
  return list
}

function holds(list: BlockList, address: string): boolean {
  return list.check(address, isIP(address) === 6 ? 'ipv6' : 'ipv4')
}
