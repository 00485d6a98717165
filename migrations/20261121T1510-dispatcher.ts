import { sql, type Kysely } from 'kysely'

/**
 * What the dispatcher keeps beside its cursors: in which Temporal it last made sure that everything open runs, and what is
 * open. All of it follows from the log.
 */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`set local role countersign_owner`.execute(db)

  // Only the dispatcher's cursors have them. The namespace's id differs in every database of Temporal.
  await sql`alter table subscriptions add column namespace text, add column refilled_at timestamptz`.execute(db)

  await sql`
    create table open_processes (
      tenant text collate "C" not null,
      stream text collate "C" not null,
      kind text collate "C" not null,
      seq bigint not null,
      since timestamptz not null,
      primary key (tenant, stream)
    )`.execute(db)
  await sql`create index open_processes_since on open_processes (kind, since)`.execute(db)
  await sql`alter table open_processes enable row level security`.execute(db)
  await sql`alter table open_processes force row level security`.execute(db)
  await sql`
    create policy one_tenant on open_processes for select to countersign_reader, countersign_command, countersign_keyring
      using (tenant = (select current_tenant()))`.execute(db)
  await sql`
    create policy every_tenant on open_processes to countersign_operator using (true) with check (true)`.execute(db)
  await sql`grant select on open_processes to countersign_reader, countersign_command, countersign_keyring`.execute(db)
  await sql`grant select, insert, update, delete on open_processes to countersign_operator`.execute(db)

  await sql`reset role`.execute(db)
}
