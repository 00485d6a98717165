import { sql, type Kysely } from 'kysely'

/** What followers build from the log: it may be dropped and built again, and says how far it is. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`set local role countersign_owner`.execute(db)

  await sql`
    create table subscriptions (
      consumer text collate "C" not null,
      tenant text collate "C" not null,
      next_seq bigint not null default 0 check (next_seq >= 0),
      owner text,
      until timestamptz,
      epoch bigint not null default 0,
      primary key (consumer, tenant)
    ) with (fillfactor = 50)`.execute(db)

  await sql`
    create table entry_index (
      tenant text collate "C" not null,
      seq bigint not null,
      recorded_at timestamptz not null,
      occurred_at timestamptz,
      type text collate "C" not null,
      actor text collate "C",
      outcome text collate "C",
      stream text collate "C",
      source text collate "C",
      primary key (tenant, seq)
    )`.execute(db)
  await sql`create index entry_index_type on entry_index (tenant, type, seq)`.execute(db)
  await sql`create index entry_index_recorded on entry_index (tenant, recorded_at, seq)`.execute(db)
  await sql`create index entry_index_occurred on entry_index (tenant, occurred_at, seq)`.execute(db)
  await sql`create index entry_index_outcome on entry_index (tenant, outcome, seq) where outcome is not null`.execute(
    db,
  )
  await sql`create index entry_index_stream on entry_index (tenant, stream, seq) where stream is not null`.execute(db)

  await sql`
    create table entry_refs (
      tenant text collate "C" not null,
      reference text collate "C" not null,
      role text collate "C" not null check (role in ('actor', 'target', 'subject')),
      seq bigint not null,
      primary key (tenant, reference, role, seq)
    )`.execute(db)

  await sql`
    create table reports (
      tenant text collate "C" not null,
      id text collate "C" not null,
      seq bigint not null,
      kind text collate "C" not null,
      generated_at timestamptz not null,
      generated_by text collate "C" not null,
      parameters jsonb not null,
      files jsonb not null,
      primary key (tenant, id)
    )`.execute(db)
  await sql`create index reports_seq on reports (tenant, seq)`.execute(db)

  await sql`
    create table verifications (
      tenant text collate "C" not null,
      verified_at timestamptz not null,
      from_seq bigint not null,
      next_seq bigint not null,
      chain_hash bytea not null check (octet_length(chain_hash) = 32),
      findings integer not null check (findings >= 0),
      duration_ms integer not null,
      primary key (tenant, verified_at)
    )`.execute(db)

  await sql`
    do $$
    declare
      name text;
    begin
      foreach name in array array['subscriptions', 'entry_index', 'entry_refs', 'reports', 'verifications'] loop
        execute format('alter table %I enable row level security', name);
        execute format('alter table %I force row level security', name);
        execute format('create policy one_tenant on %I for select to countersign_reader, countersign_command, countersign_keyring
          using (tenant = (select current_tenant()))', name);
        execute format('create policy every_tenant on %I to countersign_operator using (true) with check (true)', name);
        execute format('grant select on %I to countersign_reader, countersign_command, countersign_keyring', name);
        execute format('grant select, insert, update, delete on %I to countersign_operator', name);
      end loop;
    end $$`.execute(db)
  await sql`reset role`.execute(db)
}
