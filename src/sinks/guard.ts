import { lookup } from 'node:dns/promises'
import { isIP } from 'node:net'
import { targetUrl } from '../approvals/webhook.js'
import { DomainError, systemCode } from '../errors.js'
import { addressRule } from './addresses.js'

/** Ports below belong to other protocols, but for that of HTTPS; networks that the operator allows may use any. */
const FIRST_FREE_PORT = 1024
const HTTPS_PORT = 443

export interface Checked {
  readonly address: string
  readonly family: 4 | 6
}

/** Asks for all addresses of a name, as connecting would. */
export type Lookup = (name: string) => Promise<readonly { address: string; family: number }[]>

/**
 * Keeps requests that a tenant asked for away from what only this machine can reach (SSRF). A name may change what it
 * points to at any time, so whoever connects goes to the addresses that `resolve` answered, and never asks again.
 */
export class Guard {
  private readonly judge: ReturnType<typeof addressRule>
  private readonly lookup: Lookup

  /** @param networks that may be reached although they are not public, over plain HTTP and on any port too */
  constructor(networks: readonly string[] = [], lookup: Lookup = everyAddress) {
    this.judge = addressRule(networks)
    this.lookup = lookup
  }

  /**
   * Checks where an address leads, now.
   * @returns where to connect to: every address of its host, all of them checked
   * @throws DomainError WEBHOOK_TARGET_REFUSED, WEBHOOK_TARGET_UNRESOLVED
   */
  async resolve(target: string): Promise<{ url: URL; addresses: readonly Checked[] }> {
    const url = targetUrl(target)
    const host = url.hostname.replace(/^\[|\]$/g, '')
    const found = isIP(host) === 0 ? await this.ask(host) : [{ address: host, family: isIP(host) }]
    const verdicts = found.map(({ address }) => this.judge(address))
    // One forbidden address among them is enough: which one is connected to would be chance.
    if (verdicts.includes('refused')) {
      throw refused(
        `${host} leads to an address that is not public; COUNTERSIGN_WEBHOOK_NETWORKS can allow its network`,
      )
    }
    if (verdicts.includes('public')) checkPublic(url)
    return { url, addresses: found.map(({ address, family }) => ({ address, family: family === 6 ? 6 : 4 })) }
  }

  /** Whether a connection may stay: what it really reached. */
  permits(address: string | undefined): boolean {
    return address !== undefined && this.judge(address) !== 'refused'
  }

  private async ask(host: string): Promise<readonly { address: string; family: number }[]> {
    const found = await this.lookup(host).catch((error: unknown) => {
      const message = `${host} has no address (${systemCode(error) ?? 'the name service does not answer'})`
      throw new DomainError('WEBHOOK_TARGET_UNRESOLVED', message, { pointer: '/url' })
    })
    if (found.length > 0) return found
    throw new DomainError('WEBHOOK_TARGET_UNRESOLVED', `${host} has no address`, { pointer: '/url' })
  }
}

function checkPublic(url: URL): void {
  if (url.protocol !== 'https:') throw refused('a public address is called over https:// only')
  const port = url.port === '' ? HTTPS_PORT : Number(url.port)
  if (port !== HTTPS_PORT && port < FIRST_FREE_PORT) {
    throw refused(`port ${port} is not for webhooks: use ${HTTPS_PORT}, or one from ${FIRST_FREE_PORT} on`)
  }
}

async function everyAddress(name: string): Promise<readonly { address: string; family: number }[]> {
  return lookup(name, { all: true })
}

function refused(message: string): DomainError {
  return new DomainError('WEBHOOK_TARGET_REFUSED', message, { pointer: '/url' })
}
