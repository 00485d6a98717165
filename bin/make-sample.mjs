#!/usr/bin/env node
// Prints docs/sample/events.ndjson: what a first start imports where a checkout has no git history. Everybody and
// everything in it is made up, and it is the same on every run.
const DAYS = 60
const EVENTS = 400
const START = Date.parse('2026-01-05T06:00:00Z')

const people = [
  ['Ada Lovelace', 'ada@example.org', 'engineering'],
  ['Grace Hopper', 'grace@example.org', 'engineering'],
  ['Jürgen Groß', 'juergen@example.org', 'finance'],
  ['María Núñez', 'maria@example.org', 'support'],
  ['Łukasz Żak', 'lukasz@example.org', 'support'],
  ['Zoë van der Berg', 'zoe@example.org', 'finance'],
  ['Đặng Thị Hà', 'ha@example.com', 'engineering'],
  ['Οδυσσέας Παππάς', 'odysseas@example.com', 'operations'],
  ['Ольга Иванова', 'olga@example.com', 'operations'],
]
const customers = ['Babbage & Sons', 'Müller Maschinenbau', 'Café de la Paix', 'Nordlys AS', 'Tanaka Trading']
const agents = ['Firefox/146.0', 'Chrome/143.0', 'Safari/19.2', 'example-cli/2.4']

let state = 20260105
const random = () => {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0
  return state / 2 ** 32
}
const pick = (list) => list[Math.floor(random() * list.length)]
const number = (from, to) => from + Math.floor(random() * (to - from + 1))
const hex = (digits) => Array.from({ length: digits }, () => number(0, 15).toString(16)).join('')
const address = () => `${pick(['192.0.2', '198.51.100', '203.0.113'])}.${number(1, 254)}`

const person = ([, email], type) => ({ kind: 'email', value: email, ...(type ? { type } : {}) })
const group = (who, name, data) => ({ group: name, subject: person(who), data })
const from = (name) => ({ name, delivery: 'at-least-once', replayable: true })

/** What happens in this company, and how often. */
const kinds = [
  [30, signIn],
  [14, invoice],
  [12, gateway],
  [10, deployment],
  [9, record],
  [7, role],
  [6, consent],
  [6, secret],
  [4, backup],
  [2, exported],
]
const weight = kinds.reduce((sum, [share]) => sum + share, 0)

function signIn() {
  const who = pick(people)
  const fails = random() < 0.12
  return {
    type: fails ? 'session.refused' : 'session.started',
    actor: person(who, 'user'),
    outcome: fails ? 'denied' : 'success',
    ...(fails ? { reason: pick(['WRONG_PASSWORD', 'NO_SECOND_FACTOR', 'ACCOUNT_LOCKED']) } : {}),
    data: { method: pick(['password', 'saml', 'passkey']), secondFactor: random() < 0.8 },
    personal: [group(who, 'name', who[0]), group(who, 'address', address()), group(who, 'agent', pick(agents))],
    source: from('sign-in'),
  }
}

function invoice() {
  const who = pick(people.filter(([, , team]) => team === 'finance'))
  const sent = random() < 0.7
  return {
    type: sent ? 'invoice.sent' : 'invoice.paid',
    actor: sent ? person(who, 'user') : { id: 'service:billing', type: 'service' },
    targets: [
      { id: `invoice:2026-${String(number(1, 900)).padStart(4, '0')}`, type: 'invoice' },
      { id: `customer:${number(1, customers.length)}`, type: 'customer' },
    ],
    outcome: 'success',
    data: { amount: number(100, 900000) / 100, currency: pick(['EUR', 'GBP', 'NOK']), lines: number(1, 12) },
    source: from('billing'),
  }
}

function gateway() {
  const who = pick(people)
  const denied = random() < 0.15
  return {
    type: 'gateway.request.forwarded'.replace('forwarded', denied ? 'blocked' : 'forwarded'),
    actor: person(who, 'user'),
    targets: [{ id: `model:${pick(['small', 'large', 'code'])}`, type: 'model' }],
    outcome: denied ? 'denied' : 'success',
    ...(denied ? { reason: pick(['BUDGET_SPENT', 'PERSONAL_DATA_FOUND', 'MODEL_NOT_ALLOWED']) } : {}),
    data: { tokensIn: number(20, 6000), tokensOut: denied ? 0 : number(10, 2000), durationMs: number(80, 9000) },
    personal: [
      group(who, 'prompt', pick(['Summarise this contract.', 'Write a reply to Mr Babbage.', 'Why does it fail?'])),
    ],
    trace: `00-${hex(31)}1-${hex(15)}1-01`,
    source: from('llm-gateway'),
  }
}

function deployment() {
  const failed = random() < 0.1
  return {
    type: failed ? 'deployment.failed' : 'deployment.finished',
    actor: { id: 'service:pipeline', type: 'service' },
    targets: [{ id: `service:${pick(['billing', 'portal', 'llm-gateway', 'reports'])}`, type: 'service' }],
    outcome: failed ? 'failure' : 'success',
    ...(failed ? { reason: 'HEALTH_CHECK_FAILED' } : {}),
    data: { commit: hex(40), environment: pick(['staging', 'production']), durationS: number(40, 600) },
    source: from('pipeline'),
  }
}

function record() {
  const who = pick(people.filter(([, , team]) => team === 'support'))
  const name = pick(customers)
  const changed = random() < 0.4
  return {
    type: changed ? 'customer.changed' : 'customer.viewed',
    actor: person(who, 'user'),
    targets: [{ id: `customer:${customers.indexOf(name) + 1}`, type: 'customer' }],
    outcome: 'success',
    ...(changed ? { data: { members: pick([['phone'], ['address', 'phone'], ['contact']]) } } : {}),
    personal: [group(who, 'note', `Called by ${name}`), group(who, 'address', address())],
    source: from('portal'),
  }
}

function role() {
  const [who, whom] = [pick(people), pick(people)]
  const denied = random() < 0.2
  return {
    type: random() < 0.7 ? 'role.granted' : 'role.revoked',
    actor: person(who, 'user'),
    targets: [person(whom, 'user'), { id: `role:${pick(['auditor', 'admin', 'billing', 'support'])}`, type: 'role' }],
    outcome: denied ? 'denied' : 'success',
    ...(denied ? { reason: 'NO_PERMISSION' } : {}),
    personal: [group(whom, 'name', whom[0])],
    source: from('portal'),
  }
}

function consent() {
  const who = pick(people)
  return {
    type: random() < 0.8 ? 'consent.granted' : 'consent.withdrawn',
    actor: person(who, 'user'),
    outcome: 'success',
    schema: 2,
    data: { notice: 'newsletter', version: number(1, 3), language: pick(['de', 'en', 'es', 'pl']) },
    personal: [group(who, 'address', address())],
    source: from('portal'),
  }
}

function secret() {
  const who = pick(people.filter(([, , team]) => team !== 'support'))
  return {
    type: pick(['secret.read', 'secret.rotated']),
    actor: person(who, 'user'),
    targets: [{ id: `secret:${pick(['database/billing', 'mail/relay', 'payment/provider'])}`, type: 'secret' }],
    outcome: 'success',
    personal: [group(who, 'address', address()), group(who, 'agent', 'example-cli/2.4')],
    source: from('vault'),
  }
}

function backup() {
  return {
    type: 'backup.completed',
    actor: { id: 'service:backup', type: 'service' },
    targets: [{ id: `database:${pick(['billing', 'portal'])}`, type: 'database' }],
    outcome: 'success',
    data: { bytes: number(1, 90) * 1073741824, durationS: number(300, 4000) },
    source: from('backup'),
  }
}

function exported() {
  const who = pick(people.filter(([, , team]) => team === 'operations'))
  return {
    type: 'customer-list.exported',
    actor: person(who, 'user'),
    outcome: 'success',
    data: { rows: number(100, 40000), format: 'csv' },
    personal: [group(who, 'name', who[0]), group(who, 'reason', 'Requested by finance for the yearly audit')],
    source: from('portal'),
  }
}

function kind() {
  let left = random() * weight
  return kinds.find(([share]) => (left -= share) < 0)?.[1] ?? backup
}

const times = Array.from(
  { length: EVENTS },
  () => START + Math.floor(random() * DAYS) * 86_400_000 + number(0, 43_199) * 1000,
)
for (const [index, time] of times.sort((a, b) => a - b).entries()) {
  const id = `sample-${String(index + 1).padStart(4, '0')}`
  const local = new Date(time + 3_600_000).toISOString().replace('.000Z', '+01:00')
  process.stdout.write(`${JSON.stringify({ ...kind()(), id, occurredAt: local })}\n`)
}
