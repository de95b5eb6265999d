-- Keys that every instance of one archive shares. Whoever can read them can make what they seal.
set local role capsule_owner;

create table capsule.secrets (
    name    text primary key,
    value   bytea not null,
    made_at timestamptz not null default now()
);
comment on table capsule.secrets is 'Keys that all CAPSULE instances of this archive share; for the writer alone.';
comment on column capsule.secrets.name is 'What it is for: cursor seals the cursors of the HTTP interface.';
comment on column capsule.secrets.value is 'The key.';
comment on column capsule.secrets.made_at is 'When.';

insert into capsule.secrets (name, value)
values ('cursor', sha256(convert_to(gen_random_uuid()::text || gen_random_uuid()::text || gen_random_uuid()::text, 'UTF8')));

grant select on capsule.secrets to capsule_writer;
