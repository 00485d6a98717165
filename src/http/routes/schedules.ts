import { Type, type Static } from 'typebox'
import { scheduledReports } from '../../../reports/scheduled.js'
import { applyDirectly } from '../../approvals/commands/direct.js'
import { permissions } from '../../auth/permissions.js'
import { DomainError } from '../../errors.js'
import { instantMs, timeFault } from '../../ledger/rfc3339.js'
import type { Principal } from '../../principal.js'
import { WEEKDAYS } from '../../schedules/calendar.js'
import { MAX_REQUESTED, removeSchedule, requestRuns, setSchedule } from '../../schedules/commands.js'
import { PERIODS } from '../../schedules/period.js'
import type { RunState } from '../../schedules/run.js'
import { MAX_RECIPIENTS, VERIFICATION, type ReportScheduleInput } from '../../schedules/schedule.js'
import { findSchedule, listSchedules, runsOf } from '../../schedules/views.js'
import { callerOf } from '../authorize.js'
import { answer, At, PrincipalId, problems, Seq } from '../schemas.js'
import type { App, ServerDeps } from '../server.js'

const Id = Type.String({
  pattern: '^[a-z][a-z0-9-]{0,62}$',
  description: 'Names the schedule; `verification` is the nightly one that every tenant has',
})
const numbers = (minimum: number, maximum: number, description: string) => {
  const one = Type.Integer({ minimum, maximum })
  return Type.Optional(Type.Union([one, Type.Array(one, { minItems: 1 })], { description }))
}
const Weekday = Type.Enum([...WEEKDAYS])

const CalendarSchema = Type.Object(
  {
    minute: numbers(0, 59, '0 unless given'),
    hour: numbers(0, 23, '0 unless given'),
    dayOfMonth: numbers(1, 31, 'Any unless given'),
    month: numbers(1, 12, 'Any unless given'),
    dayOfWeek: Type.Optional(
      Type.Union([Weekday, Type.Array(Weekday, { minItems: 1 })], { description: 'Any unless given' }),
    ),
  },
  { additionalProperties: false, description: 'When: all of its parts must match' },
)

const members = {
  kind: Type.Enum(['report', 'verification'], { description: '`verification` only for the schedule of that name' }),
  report: Type.Optional(Type.String({ description: 'The kind of report', examples: ['audit-trail'] })),
  period: Type.Optional(
    Type.Enum([...PERIODS], {
      description: 'The report covers the last whole one before it was due; weeks begin on Monday',
    }),
  ),
  parameters: Type.Optional(
    Type.Object(
      {},
      { additionalProperties: true, description: 'What the report takes beside its period: `by`, `filter`, `formats`' },
    ),
  ),
  cron: Type.Optional(
    Type.String({
      maxLength: 256,
      description: 'When, by five fields of cron; either this or `calendar`',
      examples: ['30 6 1 * *'],
    }),
  ),
  calendar: Type.Optional(CalendarSchema),
  timeZone: Type.Optional(
    Type.String({ maxLength: 64, description: 'IANA name, UTC unless given', examples: ['Europe/Berlin'] }),
  ),
  paused: Type.Optional(Type.Boolean()),
  recipients: Type.Optional(
    Type.Array(Type.String(), {
      maxItems: MAX_RECIPIENTS,
      description: 'Webhooks, by id, that are told how a run ended: by a link, never with what a report says',
    }),
  ),
}
const ScheduleInput = Type.Object(members, { additionalProperties: false, title: 'NewSchedule' })

export const ScheduleSchema = Type.Object(
  {
    id: Id,
    ...members,
    paused: Type.Boolean(),
    recipients: Type.Array(Type.String()),
    version: Type.Integer({ minimum: 0, description: '0 where nobody has set anything' }),
    changedAt: Type.Optional(At),
    next: Type.Array(At, { description: 'When it is due next; none while it is paused' }),
  },
  { $id: 'Schedule', title: 'Schedule' },
)

const RunSchema = Type.Object(
  {
    schedule: Id,
    scheduledAt: Type.String({
      format: 'date-time',
      description: 'When it was due, UTC: names the run, with its schedule',
    }),
    kind: Type.Enum(['report', 'verification']),
    status: Type.Enum(['requested', 'started', 'completed', 'failed']),
    requestedBy: Type.Optional(PrincipalId),
    period: Type.Optional(Type.Object({ from: Type.String(), to: Type.String() })),
    report: Type.Optional(Type.String({ description: 'Id of the report, once it is made' })),
    result: Type.Optional(Type.Object({}, { additionalProperties: true, description: 'What a verification found' })),
    code: Type.Optional(Type.String({ description: 'Why it failed' })),
    startedAt: Type.Optional(At),
    endedAt: Type.Optional(At),
    announced: Type.Array(
      Type.Object({
        webhook: Type.String(),
        code: Type.Optional(Type.String({ description: 'Why it could not be told' })),
      }),
    ),
    seq: Seq,
  },
  { title: 'Run' },
)

const Params = Type.Object({ id: Id })
const LATER = 'Temporal is told at once where it answers, and as soon as it does otherwise.'

/** Schedules and their runs: kept in the log, and so readable and changeable while Temporal is away. */
export async function scheduleRoutes(app: App, { database, approvals, settings }: ServerDeps): Promise<void> {
  const views = { database, verificationHour: settings.verificationHour }
  const deps = { database, reports: new Map([...scheduledReports].map(([name, { check }]) => [name, check])) }

  app.get(
    '/v1/schedules',
    {
      config: { permission: permissions.readSchedules },
      schema: {
        operationId: 'listSchedules',
        summary: 'List schedules',
        tags: ['schedules'],
        response: {
          200: Type.Object({ schedules: Type.Array(Type.Ref('Schedule')) }, { description: 'All of the tenant' }),
          ...problems(),
        },
      },
      serializerCompiler: () => JSON.stringify,
    },
    async (request) => answer({ schedules: await listSchedules(views, callerOf(request).tenant) }),
  )

  app.get(
    '/v1/schedules/:id',
    {
      config: { permission: permissions.readSchedules },
      schema: {
        operationId: 'getSchedule',
        summary: 'One schedule',
        tags: ['schedules'],
        params: Params,
        response: { 200: { description: 'The schedule', ...Type.Ref('Schedule') }, ...problems(400, 404) },
      },
      serializerCompiler: () => JSON.stringify,
    },
    async (request) => answer(await findSchedule(views, callerOf(request).tenant, request.params.id)),
  )

  app.put(
    '/v1/schedules/:id',
    {
      config: { permission: permissions.writeSchedules },
      schema: {
        operationId: 'setSchedule',
        summary: 'Set a schedule',
        description:
          'Makes it or replaces all of it. Of `verification` only `paused` and `recipients` can be set, and once approvals ' +
          `are enforced only by an approved change (409 CHANGE_REQUIRED). ${LATER}`,
        tags: ['schedules'],
        params: Params,
        body: ScheduleInput,
        response: {
          200: { description: 'The schedule as it is now', ...Type.Ref('Schedule') },
          ...problems(400, 404, 409, 413, 415, 422),
        },
      },
      serializerCompiler: () => JSON.stringify,
    },
    async (request) => {
      const { params, body } = request
      const by = callerOf(request)
      if (params.id === VERIFICATION) await setVerification(by, body)
      else await setSchedule(deps, by, params.id, reportInput(body))
      return answer(await findSchedule(views, by.tenant, params.id))
    },
  )

  app.delete(
    '/v1/schedules/:id',
    {
      config: { permission: permissions.writeSchedules },
      schema: {
        operationId: 'removeSchedule',
        summary: 'Remove a schedule',
        description: `Its runs stay on record. ${LATER}`,
        tags: ['schedules'],
        params: Params,
        response: { 204: Type.Null({ description: 'Removed' }), ...problems(400, 404, 422) },
      },
    },
    async (request, reply) => {
      await removeSchedule(database, callerOf(request), request.params.id)
      void reply.code(204)
      return null
    },
  )

  app.get(
    '/v1/schedules/:id/runs',
    {
      config: { permission: permissions.readSchedules },
      schema: {
        operationId: 'listRuns',
        summary: 'List the runs of a schedule',
        description: 'By when they were due, the latest first; also of a schedule that was removed.',
        tags: ['schedules'],
        params: Params,
        querystring: Type.Object(
          {
            limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 1000, default: 100 })),
            before: Type.Optional(Type.String({ pattern: '^\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\dZ$' })),
          },
          { additionalProperties: false },
        ),
        response: {
          200: Type.Object(
            {
              runs: Type.Array(RunSchema),
              next: Type.Optional(Type.String({ description: 'Send it as `before` for the next page' })),
            },
            { description: 'A page of runs' },
          ),
          ...problems(400, 404),
        },
      },
      serializerCompiler: () => JSON.stringify,
    },
    async (request) => {
      const { limit = 100, before } = request.query
      const runs = await runsOf({ database }, callerOf(request).tenant, request.params.id, { limit, before })
      const last = runs.length === limit ? runs.at(-1)?.scheduledAt : undefined
      return answer({ runs: runs.map(runView), ...(last !== undefined && { next: last }) })
    },
  )

  app.post(
    '/v1/schedules/:id/runs',
    {
      config: { permission: permissions.requestRuns },
      schema: {
        operationId: 'requestRuns',
        summary: 'Ask for runs',
        description:
          'One as of now, or with a period each that was due in it: what was recorded of them already is not made again. ' +
          LATER,
        tags: ['schedules'],
        params: Params,
        body: Type.Object(
          {
            from: Type.Optional(Type.String({ format: 'date-time', description: 'RFC 3339 with an offset' })),
            to: Type.Optional(
              Type.String({ format: 'date-time', description: `Excluded; at most ${MAX_REQUESTED} runs` }),
            ),
          },
          { additionalProperties: false, title: 'NewRuns' },
        ),
        response: {
          202: Type.Object({ runs: Type.Array(RunSchema) }, { description: 'The runs, new or not' }),
          ...problems(400, 404, 413, 415),
        },
      },
      serializerCompiler: () => JSON.stringify,
    },
    async (request, reply) => {
      const { from, to } = request.body
      if ((from === undefined) !== (to === undefined)) {
        throw new DomainError('RANGE_INVALID', 'a period has both "from" and "to"', {
          pointer: from === undefined ? '/from' : '/to',
        })
      }
      const period =
        from === undefined || to === undefined
          ? undefined
          : { fromMs: instant(from, '/from'), toMs: instant(to, '/to') }
      const runs = await requestRuns(database, callerOf(request), request.params.id, period)
      void reply.code(202)
      return answer({ runs: runs.map(runView) })
    },
  )

  async function setVerification(by: Principal, body: Static<typeof ScheduleInput>): Promise<void> {
    const { kind, paused = false, recipients = [], ...others } = body
    if (kind !== VERIFICATION || Object.keys(others).length > 0) throw reserved()
    await applyDirectly(approvals, by, 'verification.set', { enabled: !paused, recipients: [...recipients] })
  }
}

/** @throws DomainError SCHEDULE_INVALID, SCHEDULE_RESERVED */
function reportInput({ kind, report, period, ...rest }: Static<typeof ScheduleInput>): ReportScheduleInput {
  if (kind !== 'report') throw reserved()
  for (const [name, value] of Object.entries({ report, period })) {
    if (value === undefined) throw new DomainError('SCHEDULE_INVALID', `${name} is missing`, { pointer: `/${name}` })
  }
  return { kind, report: report ?? '', period: period ?? 'month', ...rest } as ReportScheduleInput
}

function reserved(): DomainError {
  return new DomainError(
    'SCHEDULE_RESERVED',
    `the kind ${VERIFICATION} is that of the schedule ${VERIFICATION} alone, of which only paused and recipients can be set`,
    { pointer: '/kind' },
  )
}

function instant(text: string, pointer: string): number {
  const fault = timeFault(text)
  if (fault !== undefined)
    throw new DomainError('RANGE_INVALID', `${JSON.stringify(text.slice(0, 80))} ${fault}`, { pointer })
  return instantMs(text)
}

function runView({ schedule, scheduledAt, kind, status, requestedBy, order, result, code, ...rest }: RunState) {
  const { startedAt, endedAt, announced, seq } = rest
  return {
    schedule,
    scheduledAt,
    kind,
    status,
    ...(requestedBy !== undefined && { requestedBy }),
    ...(order && { period: order.period }),
    ...(kind === 'report' && result && { report: result['report'] as string }),
    ...(kind === 'verification' && result && { result }),
    ...(code !== undefined && { code }),
    ...(startedAt !== undefined && { startedAt }),
    ...(endedAt !== undefined && { endedAt }),
    announced,
    seq,
  }
}
