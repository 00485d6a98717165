import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { checkEvent, type EventInput, type Json } from '../../src/ledger/event.js'
import { cloudtrailEvent } from '../../src/sources/cloudtrail.js'
import { personalTexts, recordOf } from '../support/cloudtrail.js'
import { root } from '../support/root.js'
import { groupsOf, inClear } from '../support/source.js'

type Entry = { [name: string]: Json }

const records = readFileSync(join(root, 'test/fixtures/cloudtrail.ndjson'), 'utf8')
  .trimEnd()
  .split('\n')
  .map((line) => JSON.parse(line) as Entry)

function eventOf(eventName: string): EventInput {
  return cloudtrailEvent(records.find((record) => record['eventName'] === eventName))
}

describe.each(records.map((record) => ({ name: record['eventName'] as string, record })))('$name', ({ record }) => {
  const event = cloudtrailEvent(structuredClone(record))

  test('is an event', () => {
    expect(checkEvent(event, '')).toBe(event)
  })

  test('loses nothing: the record can be put together again', () => {
    expect(recordOf(event)).toEqual(record)
  })

  test('shows nothing personal', () => {
    const clear = inClear(event)
    for (const text of personalTexts(record)) expect(clear).not.toContain(text)
    expect(clear).not.toMatch(/lovelace|192\.0\.2|example\.com|AKIA|AROA|:user\//)
  })
})

test('each kind of personal data is a group of its own', () => {
  const event = eventOf('GetBucketPolicy')
  expect(groupsOf(event)).toMatchObject({
    name: { userIdentity: { userName: 'ada' } },
    identity: { userIdentity: { arn: 'arn:aws:iam::123456789012:user/ada', principalId: 'AIDAEXAMPLEADA' } },
    credential: { userIdentity: { accessKeyId: 'AKIAEXAMPLEADA' } },
    address: { sourceIPAddress: '192.0.2.17' },
    agent: { userAgent: 'aws-cli/2.15.0 Python/3.11' },
    host: { tlsDetails: { clientProvidedHostHeader: 'orders-2026.s3.eu-central-1.amazonaws.com' } },
  })
  expect(event).toMatchObject({
    type: 'aws.s3.GetBucketPolicy',
    id: '00000000-0000-4000-9000-000000000001',
    occurredAt: '2026-03-02T09:01:00Z',
    outcome: 'success',
    actor: { kind: 'aws-arn', value: 'arn:aws:iam::123456789012:user/ada', type: 'user' },
    targets: [{ id: 'arn:aws:s3:::orders-2026', type: 'AWS::S3::Bucket' }],
    data: { requestID: 'GXK985FFMWTE90RA', responseElements: null, tlsDetails: { tlsVersion: 'TLSv1.2' } },
  })
})

test.each([
  ['DeleteUser', 'denied', 'AccessDenied'],
  ['TerminateInstances', 'denied', 'Client.UnauthorizedOperation'],
  ['PutObject', 'failure', 'NoSuchBucket'],
  ['ConsoleLogin', 'denied', undefined],
  ['GetParameters', 'success', undefined],
])('%s ends as %s', (name, outcome, reason) => {
  const event = eventOf(name)
  expect([event.outcome, event.reason]).toEqual([outcome, reason])
})

test.each([
  ['GetParameters', { kind: 'aws-arn', value: 'arn:aws:iam::123456789012:user/ada', type: 'user' }],
  ['UpdateInstanceAssociationStatus', { kind: 'aws-arn', type: 'assumed-role' }],
  ['AssumeRole', { id: 'aws-service:ec2.amazonaws.com', type: 'service' }],
  ['EndSecretVersionDelete', { id: 'aws-service:secretsmanager.amazonaws.com', type: 'service' }],
  ['DescribeInstances', { id: 'aws-service:inspector2.amazonaws.com', type: 'service' }],
  ['DescribeEventAggregates', { kind: 'aws-arn', value: 'arn:aws:iam::123456789012:user/grace', type: 'user' }],
  ['ConsoleLogin', { id: 'aws-account:123456789012', type: 'account' }],
  ['EnableMFADevice', { kind: 'aws-arn', value: 'arn:aws:iam::123456789012:root', type: 'root' }],
])('%s is done by whom AWS says', (name, actor) => {
  expect(eventOf(name).actor).toMatchObject(actor)
})

test('every resource becomes a target', () => {
  expect(eventOf('GetParameters').targets).toHaveLength(10)
  expect(eventOf('UpdateInstanceAssociationStatus').targets).toEqual([
    { id: 'arn:aws:ssm:eu-central-1:123456789012:association/56fcb26d' },
    { id: 'arn:aws:ec2:eu-central-1:123456789012:instance/i-0123456789abcdef0' },
  ])
})

test('a user whom an operation is about is a target with a group of their own', () => {
  const event = eventOf('DeleteUser')
  const grace = { kind: 'aws-arn', value: 'arn:aws:iam::123456789012:user/grace' }
  expect(event.targets).toEqual([{ ...grace, type: 'AWS::IAM::User' }])
  expect(event.personal).toContainEqual({
    group: 'user',
    subject: grace,
    data: { requestParameters: { userName: 'grace' } },
  })
})

test('resources that are people, or named after the actor, are pseudonyms; keys of objects are sealed', () => {
  const mfa = eventOf('EnableMFADevice')
  expect(mfa.targets).toEqual([
    { kind: 'aws-arn', value: 'arn:aws:iam::123456789012:mfa/ada', type: 'AWS::IAM::MFADevice' },
    { kind: 'aws-arn', value: 'arn:aws:iam::123456789012:user/ada', type: 'AWS::IAM::User' },
  ])
  const put = eventOf('PutObject')
  expect(put.targets).toEqual([
    { id: 'arn:aws:s3:::orders-2026', type: 'AWS::S3::Object' },
    { kind: 'aws-arn', value: 'arn:aws:iam::123456789012:user/ada', type: 'AWS::S3::Bucket' },
  ])
  expect(groupsOf(put)).toMatchObject({
    'resource-1': { ARN: 'arn:aws:s3:::orders-2026/cv/lovelace.pdf' },
    'resource-2': { ARN: 'arn:aws:s3:::home-ada' },
    'resource-3': { ARNPrefix: 'arn:aws:s3:::orders-2026/' },
    other: { addendum: { reason: 'DELIVERY_DELAY' } },
  })
})

test('more resources than an event has targets are sealed together, and none is lost', () => {
  const record = structuredClone(records[2]) as Entry
  record['resources'] = Array.from({ length: 100 }, (_, n) => ({ ARN: `arn:aws:ssm:eu-central-1::parameter/${n}` }))
  const event = cloudtrailEvent(record)
  expect(event.targets).toHaveLength(32)
  expect(recordOf(event)).toEqual(record)
  expect(checkEvent(event, '')).toBe(event)
})

test.each([
  { member: 'awsRegion', value: 'ada lovelace' },
  { member: 'eventName', value: 'Get 192.0.2.17' },
  { member: 'eventID', value: 'arn:aws:iam::123456789012:user/ada' },
  { member: 'eventTime', value: 'this morning' },
  { member: 'errorCode', value: 'no user "ada"' },
  { member: 'readOnly', value: 'ada' },
  { member: 'sourceIPAddress', value: 'ec2-192-0-2-17.compute-1.amazonaws.com' },
  { member: 'recipientAccountId', value: 17 },
  { member: 'tlsDetails', value: ['ada'] },
  { member: 'userIdentity', value: 'ada' },
  { member: 'requestParameters', value: 'ada' },
  { member: 'resources', value: 'ada' },
  { member: 'resources', value: [{ ARN: { of: 'ada' }, type: 'ada', accountId: 'ada' }, {}] },
  { member: '__proto__', value: { ada: 'ada' } },
])('$member that is not in its form is sealed: $value', ({ member, value }) => {
  const record = structuredClone(records[3]) as Entry
  Object.defineProperty(record, member, { value, enumerable: true, configurable: true, writable: true })
  const event = cloudtrailEvent(record)
  expect(inClear(event)).not.toMatch(/"ada|lovelace|192\.0\.2|this morning|:17[,}]/)
  expect(recordOf(event)).toEqual(record)
  expect(checkEvent(event, '')).toBe(event)
})

test.each([null, [], 'x', 1, {}, { eventSource: 's3.amazonaws.com' }, { eventName: 1, eventSource: 's3' }])(
  '%j is no record',
  (value) => {
    expect(() => cloudtrailEvent(value)).toThrow(expect.objectContaining({ code: 'CLOUDTRAIL_NOT_A_RECORD' }))
  },
)
