import { sql, type Kysely } from 'kysely'

/** The log itself. The database refuses to rewrite it, so neither a bug nor a service's own password can. There is no `down`. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`set local role countersign_owner`.execute(db)

  await sql`
    create function ledger_is_append_only() returns trigger language plpgsql as $$
    begin
      raise exception '% is append-only: % refused', tg_table_name, lower(tg_op) using errcode = 'CS002';
    end $$`.execute(db)

  // Called only once a clock is known to be wrong, so that the appending statement pays nothing for it.
  await sql`
    create function ledger_clock_is_ahead(tenant text, at timestamptz) returns boolean language plpgsql as $$
    begin
      raise exception 'recorded time % of tenant % lies more than 5 s ahead of the database (%)', at, tenant, clock_timestamp()
        using errcode = 'CS001';
    end $$`.execute(db)

  await sql`
    create function current_tenant() returns text language sql stable as $$
      select current_setting('countersign.tenant', true)
    $$`.execute(db)

  await sql`
    create table tenants (
      id text collate "C" primary key check (id ~ '^[a-z][a-z0-9-]{1,62}$'),
      log text collate "C" not null unique check (log ~ '^[0-9a-f]{32}$'),
      settings jsonb not null default '{}',
      created_at timestamptz not null
    )`.execute(db)

  await sql`
    create table entries (
      tenant text collate "C" not null,
      seq bigint not null check (seq >= 0),
      recorded_at timestamptz not null,
      leaf bytea not null check (octet_length(leaf) between 2 and 65535),
      chain_hash bytea not null check (octet_length(chain_hash) = 32),
      primary key (tenant, seq)
    ) partition by hash (tenant)`.execute(db)
  await sql`
    do $$ begin
      for n in 0..15 loop
        execute format('create table entries_%s partition of entries for values with (modulus 16, remainder %s)', n, n);
      end loop;
    end $$`.execute(db)

  // A head changes with every batch: room on its page keeps those updates off the index.
  await sql`
    create table heads (
      tenant text collate "C" primary key references tenants,
      next_seq bigint not null check (next_seq >= 0),
      chain_hash bytea not null check (octet_length(chain_hash) = 32),
      recorded_at timestamptz not null,
      key_epoch bigint not null default 0 check (key_epoch >= 0)
    ) with (fillfactor = 20)`.execute(db)

  await sql`
    create table streams (
      tenant text collate "C" not null,
      stream text collate "C" not null check (octet_length(stream) <= 255),
      version bigint not null check (version >= 1),
      seq bigint not null check (seq >= 0),
      primary key (tenant, stream, version)
    )`.execute(db)

  await sql`
    create table idempotency (
      tenant text collate "C" not null,
      principal text collate "C" not null,
      key text collate "C" not null check (octet_length(key) <= 1024),
      mac bytea check (octet_length(mac) = 32),
      first_seq bigint not null,
      count integer not null check (count > 0),
      created_at timestamptz not null default now(),
      primary key (tenant, principal, key)
    )`.execute(db)
  await sql`create index idempotency_age on idempotency (created_at)`.execute(db)

  await sql`
    create table source_positions (
      tenant text collate "C" not null,
      source text collate "C" not null check (octet_length(source) between 1 and 255),
      position text collate "C" not null check (octet_length(position) between 1 and 4096),
      seq bigint not null,
      moved_at timestamptz not null default now(),
      primary key (tenant, source)
    )`.execute(db)

  // Row triggers are cloned to partitions, statement triggers are not; "always" holds for replication sessions too.
  await sql`
    do $$
    declare
      name regclass;
    begin
      foreach name in array array['entries', 'streams']::regclass[] loop
        execute format('create trigger append_only before update or delete on %s for each row execute function ledger_is_append_only()', name);
      end loop;
      foreach name in array array['heads', 'tenants']::regclass[] loop
        execute format('create trigger append_only before delete on %s for each row execute function ledger_is_append_only()', name);
      end loop;
      for name in
        select unnest(array['entries', 'streams', 'heads', 'tenants']::regclass[])
        union all select inhrelid from pg_inherits where inhparent = 'entries'::regclass
      loop
        execute format('create trigger no_truncate before truncate on %s for each statement execute function ledger_is_append_only()', name);
        execute format('alter table %s enable always trigger append_only', name);
        execute format('alter table %s enable always trigger no_truncate', name);
      end loop;
    end $$`.execute(db)

  await sql`
    do $$
    declare
      name text;
      key text;
    begin
      foreach name in array array['tenants', 'entries', 'heads', 'streams', 'idempotency', 'source_positions'] loop
        key := case name when 'tenants' then 'id' else 'tenant' end;
        execute format('alter table %I enable row level security', name);
        execute format('alter table %I force row level security', name);
        execute format('create policy one_tenant on %I to countersign_reader, countersign_command, countersign_keyring
          using (%I = (select current_tenant())) with check (%I = (select current_tenant()))', name, key, key);
        execute format('create policy every_tenant on %I for select to countersign_operator using (true)', name);
      end loop;
      for name in select inhrelid::regclass::text from pg_inherits where inhparent = 'entries'::regclass loop
        execute format('alter table %I enable row level security', name);
        execute format('alter table %I force row level security', name);
      end loop;
      foreach name in array array['entries', 'heads', 'streams', 'idempotency', 'source_positions'] loop
        execute format('create policy appender on %I to countersign_writer using (true) with check (true)', name);
      end loop;
    end $$`.execute(db)
  // Foreign keys to tenants are checked as the owner, whom forced row security would blind.
  await sql`create policy foreign_keys on tenants for select to countersign_owner using (true)`.execute(db)
  await sql`create policy logs on tenants for select to countersign_writer using (true)`.execute(db)

  await sql`grant select (id, log) on tenants to countersign_writer`.execute(db)
  await sql`grant select (tenant, seq, chain_hash), insert on entries to countersign_writer`.execute(db)
  await sql`grant select, update (next_seq, chain_hash, recorded_at) on heads to countersign_writer`.execute(db)
  await sql`grant select, insert on streams to countersign_writer`.execute(db)
  await sql`grant select, insert, update, delete on idempotency to countersign_writer`.execute(db)
  await sql`grant select, insert, update on source_positions to countersign_writer`.execute(db)

  await sql`grant select, insert on entries, streams to countersign_command, countersign_keyring`.execute(db)
  await sql`grant select, update (next_seq, chain_hash, recorded_at) on heads to countersign_command`.execute(db)
  await sql`grant select, insert, update (next_seq, chain_hash, recorded_at, key_epoch) on heads to countersign_keyring`.execute(
    db,
  )
  await sql`grant select on tenants to countersign_command`.execute(db)
  await sql`grant select, insert on tenants to countersign_keyring`.execute(db)

  await sql`grant select on tenants, entries, heads, streams, source_positions to countersign_reader, countersign_operator`.execute(
    db,
  )
  await sql`reset role`.execute(db)
}
