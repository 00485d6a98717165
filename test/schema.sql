-- The schema that the migrations add up to, as test/support/schema.ts reads it from the catalogue: the same on every
-- PostgreSQL from 15 on. A migration changes it together with this file, so that a reviewer sees what it comes to:
--   npm run build && COUNTERSIGN_UPDATE_SCHEMA=1 npx vitest run dist/test/db/schema.test.js

-- Roles
countersign_command: no login
countersign_keyring: no login
countersign_operator: no login
countersign_owner: no login
countersign_reader: no login
countersign_writer: no login

-- Privileges on the schema
grant create on schema public to countersign_owner
grant usage on schema public to countersign_command
grant usage on schema public to countersign_keyring
grant usage on schema public to countersign_operator
grant usage on schema public to countersign_owner
grant usage on schema public to countersign_reader
grant usage on schema public to countersign_writer

-- Functions
CREATE OR REPLACE FUNCTION public.current_tenant()
 RETURNS text
 LANGUAGE sql
 STABLE
AS $function$
      select current_setting('countersign.tenant', true)
    $function$;
-- owner countersign_owner
CREATE OR REPLACE FUNCTION public.ledger_clock_is_ahead(tenant text, at timestamp with time zone)
 RETURNS boolean
 LANGUAGE plpgsql
AS $function$
    begin
      raise exception 'recorded time % of tenant % lies more than 5 s ahead of the database (%)', at, tenant, clock_timestamp()
        using errcode = 'CS001';
    end $function$;
-- owner countersign_owner
CREATE OR REPLACE FUNCTION public.ledger_is_append_only()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
    begin
      raise exception '% is append-only: % refused', tg_table_name, lower(tg_op) using errcode = 'CS002';
    end $function$;
-- owner countersign_owner

-- Domains
ledger_count as bigint CHECK ((VALUE >= 0)), owner countersign_owner
ledger_hash as bytea CHECK ((octet_length(VALUE) = 32)), owner countersign_owner
ledger_leaf as bytea CHECK (((octet_length(VALUE) >= 2) AND (octet_length(VALUE) <= 65535))), owner countersign_owner

-- Table entries
partitioned table, owner countersign_owner, row security, forced, HASH (tenant)
  tenant text collate "C" not null
  seq ledger_count not null
  recorded_at timestamp with time zone not null
  leaf ledger_leaf not null
  chain_hash ledger_hash not null
constraint entries_pkey PRIMARY KEY (tenant, seq)
policy appender for all to countersign_writer using (true) with check (true)
policy every_tenant for select to countersign_operator using (true)
policy one_tenant for all to countersign_command, countersign_keyring, countersign_reader using ((tenant = ( SELECT current_tenant() AS current_tenant))) with check ((tenant = ( SELECT current_tenant() AS current_tenant)))
CREATE TRIGGER append_only BEFORE DELETE OR UPDATE ON entries FOR EACH ROW EXECUTE FUNCTION ledger_is_append_only(), always
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON entries FOR EACH STATEMENT EXECUTE FUNCTION ledger_is_append_only(), always
grant insert to countersign_writer
grant insert, select to countersign_command
grant insert, select to countersign_keyring
grant select (tenant, seq, chain_hash) to countersign_writer
grant select to countersign_operator
grant select to countersign_reader

-- Table entries_0 to entries_15, 16 alike
table, owner countersign_owner, row security, forced, FOR VALUES WITH (modulus 16, remainder N)
  tenant text collate "C" not null
  seq ledger_count not null
  recorded_at timestamp with time zone not null
  leaf ledger_leaf not null
  chain_hash ledger_hash not null
constraint entries_N_pkey PRIMARY KEY (tenant, seq)
CREATE TRIGGER append_only BEFORE DELETE OR UPDATE ON entries_N FOR EACH ROW EXECUTE FUNCTION ledger_is_append_only(), always
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON entries_N FOR EACH STATEMENT EXECUTE FUNCTION ledger_is_append_only(), always

-- Table entry_index
table, owner countersign_owner, row security, forced
  tenant text collate "C" not null
  seq bigint not null
  recorded_at timestamp with time zone not null
  occurred_at timestamp with time zone
  type text collate "C" not null
  actor text collate "C"
  outcome text collate "C"
  stream text collate "C"
  source text collate "C"
constraint entry_index_pkey PRIMARY KEY (tenant, seq)
CREATE INDEX entry_index_occurred ON public.entry_index USING btree (tenant, occurred_at, seq)
CREATE INDEX entry_index_outcome ON public.entry_index USING btree (tenant, outcome, seq) WHERE (outcome IS NOT NULL)
CREATE INDEX entry_index_recorded ON public.entry_index USING btree (tenant, recorded_at, seq)
CREATE INDEX entry_index_stream ON public.entry_index USING btree (tenant, stream, seq) WHERE (stream IS NOT NULL)
CREATE INDEX entry_index_type ON public.entry_index USING btree (tenant, type, seq)
policy every_tenant for all to countersign_operator using (true) with check (true)
policy one_tenant for select to countersign_command, countersign_keyring, countersign_reader using ((tenant = ( SELECT current_tenant() AS current_tenant)))
grant delete, insert, select, update to countersign_operator
grant select to countersign_command
grant select to countersign_keyring
grant select to countersign_reader

-- Table entry_refs
table, owner countersign_owner, row security, forced
  tenant text collate "C" not null
  reference text collate "C" not null
  role text collate "C" not null
  seq bigint not null
constraint entry_refs_pkey PRIMARY KEY (tenant, reference, role, seq)
constraint entry_refs_role_check CHECK ((role = ANY (ARRAY['actor'::text, 'target'::text, 'subject'::text])))
policy every_tenant for all to countersign_operator using (true) with check (true)
policy one_tenant for select to countersign_command, countersign_keyring, countersign_reader using ((tenant = ( SELECT current_tenant() AS current_tenant)))
grant delete, insert, select, update to countersign_operator
grant select to countersign_command
grant select to countersign_keyring
grant select to countersign_reader

-- Table heads
table, owner countersign_owner, row security, forced, fillfactor=20
  tenant text collate "C" not null
  next_seq ledger_count not null
  chain_hash ledger_hash not null
  recorded_at timestamp with time zone not null
  key_epoch ledger_count not null default 0
constraint heads_pkey PRIMARY KEY (tenant)
constraint heads_tenant_fkey FOREIGN KEY (tenant) REFERENCES tenants(id)
policy appender for all to countersign_writer using (true) with check (true)
policy every_tenant for select to countersign_operator using (true)
policy one_tenant for all to countersign_command, countersign_keyring, countersign_reader using ((tenant = ( SELECT current_tenant() AS current_tenant))) with check ((tenant = ( SELECT current_tenant() AS current_tenant)))
CREATE TRIGGER append_only BEFORE DELETE ON heads FOR EACH ROW EXECUTE FUNCTION ledger_is_append_only(), always
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON heads FOR EACH STATEMENT EXECUTE FUNCTION ledger_is_append_only(), always
grant insert, select to countersign_keyring
grant select to countersign_command
grant select to countersign_operator
grant select to countersign_reader
grant select to countersign_writer
grant update (next_seq, chain_hash, recorded_at) to countersign_command
grant update (next_seq, chain_hash, recorded_at) to countersign_writer
grant update (next_seq, chain_hash, recorded_at, key_epoch) to countersign_keyring

-- Table idempotency
table, owner countersign_owner, row security, forced
  tenant text collate "C" not null
  principal text collate "C" not null
  key text collate "C" not null
  mac bytea
  first_seq bigint not null
  count integer not null
  created_at timestamp with time zone not null default now()
constraint idempotency_count_check CHECK ((count > 0))
constraint idempotency_key_check CHECK ((octet_length(key) <= 1024))
constraint idempotency_mac_check CHECK ((octet_length(mac) = 32))
constraint idempotency_pkey PRIMARY KEY (tenant, principal, key)
CREATE INDEX idempotency_age ON public.idempotency USING btree (created_at)
policy appender for all to countersign_writer using (true) with check (true)
policy every_tenant for select to countersign_operator using (true)
policy one_tenant for all to countersign_command, countersign_keyring, countersign_reader using ((tenant = ( SELECT current_tenant() AS current_tenant))) with check ((tenant = ( SELECT current_tenant() AS current_tenant)))
grant delete, insert, select, update to countersign_writer

-- Table identifiers
table, owner countersign_owner, row security, forced
  tenant text collate "C" not null
  hmac bytea not null
  subject text collate "C" not null
  kind text collate "C" not null
  generation integer not null
  sealed bytea not null
constraint identifiers_generation_check CHECK ((generation >= 1))
constraint identifiers_hmac_check CHECK ((octet_length(hmac) = 32))
constraint identifiers_pkey PRIMARY KEY (tenant, hmac)
constraint identifiers_sealed_check CHECK ((octet_length(sealed) > 28))
constraint identifiers_tenant_subject_fkey FOREIGN KEY (tenant, subject) REFERENCES subjects(tenant, subject)
CREATE INDEX identifiers_subject ON public.identifiers USING btree (tenant, subject)
policy one_tenant for all to countersign_keyring using ((tenant = ( SELECT current_tenant() AS current_tenant))) with check ((tenant = ( SELECT current_tenant() AS current_tenant)))
grant delete, insert, select to countersign_keyring
grant update (generation, sealed) to countersign_keyring

-- Table installation
table, owner countersign_owner, row security, forced
  one boolean not null default true
  id text collate "C" not null
  key_ids text[] not null
  backed_up_key_ids text[] not null default '{}'::text[]
  backed_up_at timestamp with time zone
constraint installation_id_check CHECK ((id ~ '^[0-9a-f]{32}$'::text))
constraint installation_one_check CHECK (one)
constraint installation_pkey PRIMARY KEY (one)
policy everyone for select to countersign_command, countersign_keyring, countersign_operator, countersign_reader, countersign_writer using (true)
policy note_backup for update to countersign_keyring using (true) with check (true)
policy set_up for all to countersign_owner using (true) with check (true)
grant select to countersign_command
grant select to countersign_keyring
grant select to countersign_operator
grant select to countersign_reader
grant select to countersign_writer
grant update (backed_up_key_ids, backed_up_at) to countersign_keyring

-- Table open_processes
table, owner countersign_owner, row security, forced
  tenant text collate "C" not null
  stream text collate "C" not null
  kind text collate "C" not null
  seq bigint not null
  since timestamp with time zone not null
constraint open_processes_pkey PRIMARY KEY (tenant, stream)
CREATE INDEX open_processes_since ON public.open_processes USING btree (kind, since)
policy every_tenant for all to countersign_operator using (true) with check (true)
policy one_tenant for select to countersign_command, countersign_keyring, countersign_reader using ((tenant = ( SELECT current_tenant() AS current_tenant)))
grant delete, insert, select, update to countersign_operator
grant select to countersign_command
grant select to countersign_keyring
grant select to countersign_reader

-- Table reports
table, owner countersign_owner, row security, forced
  tenant text collate "C" not null
  id text collate "C" not null
  seq bigint not null
  kind text collate "C" not null
  generated_at timestamp with time zone not null
  generated_by text collate "C" not null
  parameters jsonb not null
  files jsonb not null
constraint reports_pkey PRIMARY KEY (tenant, id)
CREATE INDEX reports_seq ON public.reports USING btree (tenant, seq)
policy every_tenant for all to countersign_operator using (true) with check (true)
policy one_tenant for select to countersign_command, countersign_keyring, countersign_reader using ((tenant = ( SELECT current_tenant() AS current_tenant)))
grant delete, insert, select, update to countersign_operator
grant select to countersign_command
grant select to countersign_keyring
grant select to countersign_reader

-- Table sealed_groups
table, owner countersign_owner, row security, forced
  tenant text collate "C" not null
  seq bigint not null
  "group" text collate "C" not null
  subject text collate "C" not null
  generation integer not null
  ciphertext bytea not null
constraint sealed_groups_ciphertext_check CHECK ((octet_length(ciphertext) > 60))
constraint sealed_groups_generation_check CHECK ((generation >= 1))
constraint sealed_groups_pkey PRIMARY KEY (tenant, seq, "group")
policy appender for insert to countersign_writer with check (true)
policy commands for insert to countersign_command with check ((tenant = ( SELECT current_tenant() AS current_tenant)))
policy one_tenant for all to countersign_keyring using ((tenant = ( SELECT current_tenant() AS current_tenant))) with check ((tenant = ( SELECT current_tenant() AS current_tenant)))
grant delete, insert, select to countersign_keyring
grant insert to countersign_command
grant insert to countersign_writer

-- Table source_positions
table, owner countersign_owner, row security, forced
  tenant text collate "C" not null
  source text collate "C" not null
  "position" text collate "C" not null
  seq bigint not null
  moved_at timestamp with time zone not null default now()
constraint source_positions_pkey PRIMARY KEY (tenant, source)
constraint source_positions_position_check CHECK (((octet_length("position") >= 1) AND (octet_length("position") <= 4096)))
constraint source_positions_source_check CHECK (((octet_length(source) >= 1) AND (octet_length(source) <= 255)))
policy appender for all to countersign_writer using (true) with check (true)
policy every_tenant for select to countersign_operator using (true)
policy one_tenant for all to countersign_command, countersign_keyring, countersign_reader using ((tenant = ( SELECT current_tenant() AS current_tenant))) with check ((tenant = ( SELECT current_tenant() AS current_tenant)))
grant insert, select, update to countersign_writer
grant select to countersign_operator
grant select to countersign_reader

-- Table streams
table, owner countersign_owner, row security, forced
  tenant text collate "C" not null
  stream text collate "C" not null
  version bigint not null
  seq bigint not null
constraint streams_pkey PRIMARY KEY (tenant, stream, version)
constraint streams_seq_check CHECK ((seq >= 0))
constraint streams_stream_check CHECK ((octet_length(stream) <= 255))
constraint streams_version_check CHECK ((version >= 1))
policy appender for all to countersign_writer using (true) with check (true)
policy every_tenant for select to countersign_operator using (true)
policy one_tenant for all to countersign_command, countersign_keyring, countersign_reader using ((tenant = ( SELECT current_tenant() AS current_tenant))) with check ((tenant = ( SELECT current_tenant() AS current_tenant)))
CREATE TRIGGER append_only BEFORE DELETE OR UPDATE ON streams FOR EACH ROW EXECUTE FUNCTION ledger_is_append_only(), always
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON streams FOR EACH STATEMENT EXECUTE FUNCTION ledger_is_append_only(), always
grant insert, select to countersign_command
grant insert, select to countersign_keyring
grant insert, select to countersign_writer
grant select to countersign_operator
grant select to countersign_reader

-- Table subject_keys
table, owner countersign_owner, row security, forced
  tenant text collate "C" not null
  subject text collate "C" not null
  generation integer not null
  wrapped bytea not null
  wrapped_by text collate "C" not null generated always as encode(substr(wrapped, 2, 8), 'hex'::text)
constraint subject_keys_generation_check CHECK ((generation >= 1))
constraint subject_keys_pkey PRIMARY KEY (tenant, subject, generation)
constraint subject_keys_tenant_subject_fkey FOREIGN KEY (tenant, subject) REFERENCES subjects(tenant, subject)
constraint subject_keys_wrapped_check CHECK ((octet_length(wrapped) = 69))
CREATE INDEX subject_keys_wrapped_by ON public.subject_keys USING btree (wrapped_by, tenant, subject)
policy one_tenant for all to countersign_keyring using ((tenant = ( SELECT current_tenant() AS current_tenant))) with check ((tenant = ( SELECT current_tenant() AS current_tenant)))
grant delete, insert, select to countersign_keyring
grant update (wrapped) to countersign_keyring

-- Table subjects
table, owner countersign_owner, row security, forced
  tenant text collate "C" not null
  subject text collate "C" not null
  created_at timestamp with time zone not null default now()
  erased_seq bigint
constraint subjects_pkey PRIMARY KEY (tenant, subject)
constraint subjects_tenant_fkey FOREIGN KEY (tenant) REFERENCES tenants(id)
policy foreign_keys for select to countersign_owner using (true)
policy known_subjects for select to countersign_command, countersign_reader using ((tenant = ( SELECT current_tenant() AS current_tenant)))
policy one_tenant for all to countersign_keyring using ((tenant = ( SELECT current_tenant() AS current_tenant))) with check ((tenant = ( SELECT current_tenant() AS current_tenant)))
grant insert, select to countersign_keyring
grant select to countersign_command
grant select to countersign_reader
grant update (erased_seq) to countersign_keyring

-- Table subscriptions
table, owner countersign_owner, row security, forced, fillfactor=50
  consumer text collate "C" not null
  tenant text collate "C" not null
  next_seq bigint not null default 0
  owner text
  until timestamp with time zone
  epoch bigint not null default 0
  namespace text
  refilled_at timestamp with time zone
constraint subscriptions_next_seq_check CHECK ((next_seq >= 0))
constraint subscriptions_pkey PRIMARY KEY (consumer, tenant)
policy every_tenant for all to countersign_operator using (true) with check (true)
policy one_tenant for select to countersign_command, countersign_keyring, countersign_reader using ((tenant = ( SELECT current_tenant() AS current_tenant)))
grant delete, insert, select, update to countersign_operator
grant select to countersign_command
grant select to countersign_keyring
grant select to countersign_reader

-- Table tenant_keys
table, owner countersign_owner, row security, forced
  tenant text collate "C" not null
  purpose text collate "C" not null
  generation integer not null
  wrapped bytea not null
  wrapped_by text collate "C" not null generated always as encode(substr(wrapped, 2, 8), 'hex'::text)
constraint tenant_keys_generation_check CHECK ((generation >= 1))
constraint tenant_keys_pkey PRIMARY KEY (tenant, purpose, generation)
constraint tenant_keys_tenant_fkey FOREIGN KEY (tenant) REFERENCES tenants(id)
constraint tenant_keys_wrapped_check CHECK ((octet_length(wrapped) = 69))
policy one_tenant for all to countersign_keyring using ((tenant = ( SELECT current_tenant() AS current_tenant))) with check ((tenant = ( SELECT current_tenant() AS current_tenant)))
grant delete, insert, select to countersign_keyring
grant update (wrapped) to countersign_keyring

-- Table tenants
table, owner countersign_owner, row security, forced
  id text collate "C" not null
  log text collate "C" not null
  settings jsonb not null default '{}'::jsonb
  created_at timestamp with time zone not null
constraint tenants_id_check CHECK ((id ~ '^[a-z][a-z0-9-]{1,62}$'::text))
constraint tenants_log_check CHECK ((log ~ '^[0-9a-f]{32}$'::text))
constraint tenants_log_key UNIQUE (log)
constraint tenants_pkey PRIMARY KEY (id)
policy every_tenant for select to countersign_operator using (true)
policy foreign_keys for select to countersign_owner using (true)
policy logs for select to countersign_writer using (true)
policy one_tenant for all to countersign_command, countersign_keyring, countersign_reader using ((id = ( SELECT current_tenant() AS current_tenant))) with check ((id = ( SELECT current_tenant() AS current_tenant)))
CREATE TRIGGER append_only BEFORE DELETE ON tenants FOR EACH ROW EXECUTE FUNCTION ledger_is_append_only(), always
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON tenants FOR EACH STATEMENT EXECUTE FUNCTION ledger_is_append_only(), always
grant insert, select to countersign_keyring
grant select (id, log) to countersign_writer
grant select to countersign_command
grant select to countersign_operator
grant select to countersign_reader

-- Table tokens
table, owner countersign_owner, row security, forced
  tenant text collate "C" not null
  id text collate "C" not null
  hash bytea not null
  principal text collate "C" not null
  permissions text[] not null
  description text
  created_at timestamp with time zone not null
  expires_at timestamp with time zone
  revoked_at timestamp with time zone
constraint tokens_hash_check CHECK ((octet_length(hash) = 32))
constraint tokens_hash_key UNIQUE (hash)
constraint tokens_pkey PRIMARY KEY (tenant, id)
constraint tokens_tenant_fkey FOREIGN KEY (tenant) REFERENCES tenants(id)
policy one_tenant for all to countersign_command, countersign_keyring, countersign_reader using ((tenant = ( SELECT current_tenant() AS current_tenant))) with check ((tenant = ( SELECT current_tenant() AS current_tenant)))
grant insert, select to countersign_command
grant insert, select to countersign_keyring
grant select to countersign_reader
grant update (revoked_at) to countersign_command
grant update (revoked_at) to countersign_keyring

-- Table verifications
table, owner countersign_owner, row security, forced
  tenant text collate "C" not null
  verified_at timestamp with time zone not null
  from_seq bigint not null
  next_seq bigint not null
  chain_hash bytea not null
  findings integer not null
  duration_ms integer not null
constraint verifications_chain_hash_check CHECK ((octet_length(chain_hash) = 32))
constraint verifications_findings_check CHECK ((findings >= 0))
constraint verifications_pkey PRIMARY KEY (tenant, verified_at)
policy every_tenant for all to countersign_operator using (true) with check (true)
policy one_tenant for select to countersign_command, countersign_keyring, countersign_reader using ((tenant = ( SELECT current_tenant() AS current_tenant)))
grant delete, insert, select, update to countersign_operator
grant select to countersign_command
grant select to countersign_keyring
grant select to countersign_reader
