import type { LeafEvent } from '../src/ledger/event.js'

const TYPES = ['invoice.sent', 'role.granted', 'document.shared', 'user.signed-in', 'export.requested']
const CITIES = ['Łódź', 'São Paulo', 'Zürich', 'Kyoto', 'Reykjavík']

/** The n-th event of a made-up service: about 550 bytes of canonical JSON, nested, some of it not ASCII. */
export function eventOf(n: number): LeafEvent {
  return {
    type: TYPES[n % TYPES.length] ?? 'invoice.sent',
    actor: { id: `user:${(n * 7919) % 10_007}`, type: 'user' },
    targets: [{ id: `invoice:2026-${n}`, type: 'invoice' }],
    id: `evt-${n.toString(36).padStart(10, '0')}`,
    occurredAt: new Date(1_767_225_600_000 + n * 37).toISOString(),
    outcome: n % 11 === 0 ? 'failure' : 'success',
    source: { name: 'billing', delivery: 'at-least-once', position: `17/${n.toString(16)}` },
    data: {
      amount: (n % 100_000) / 100,
      currency: 'EUR',
      context: {
        city: CITIES[n % CITIES.length] ?? 'Kyoto',
        client: 'billing-worker/4.17.2',
        region: 'eu-central-1',
        request: `req-${(n * 2_654_435_761) % 4_294_967_296}`,
        retries: n % 3,
      },
      lines: [
        { count: 1 + (n % 4), sku: `SKU-${n % 997}` },
        { count: 2, sku: `SKU-${(n * 31) % 997}` },
      ],
      note: 'monthly statement, delivered by electronic mail',
      paid: n % 2 === 0,
    },
  }
}
