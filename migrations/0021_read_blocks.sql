-- Reads whose whole answer was known when they were recorded come in blocks: a row a thousand reads, compressed, because they are many and seldom asked for.
set local role capsule_owner;

create table capsule.read_blocks (
    instance   uuid not null,
    first_id   bigint not null,
    last_id    bigint not null,
    first_at   timestamptz not null,
    last_at    timestamptz not null,
    read_count int not null,
    entries    text not null,
    primary key (instance, first_id)
);
create index read_blocks_time on capsule.read_blocks (last_at);
create index read_blocks_order on capsule.read_blocks (instance, last_id);
do $$
begin
    execute 'alter table capsule.read_blocks alter column entries set compression lz4';
exception when others then
    null; -- a server without lz4: pglz does, slower
end
$$;
comment on table capsule.read_blocks is 'Reads of history, a JSON array of them in each row. Ask capsule.reads.';
comment on column capsule.read_blocks.instance is 'The CAPSULE that answered.';
comment on column capsule.read_blocks.first_id is 'The first read''s id.';
comment on column capsule.read_blocks.last_id is 'The last read''s id.';
comment on column capsule.read_blocks.first_at is 'When the first was recorded.';
comment on column capsule.read_blocks.last_at is 'When the last was recorded.';
comment on column capsule.read_blocks.read_count is 'How many there are.';
comment on column capsule.read_blocks.entries is 'Objects with i (read_id), w (who), p (peer), m (method), r (route), q (question), s (status), n (rows), b (bytes), d (digest).';
comment on index capsule.read_blocks_time is 'Reads of a time.';
comment on index capsule.read_blocks_order is 'How far an instance''s log was written here.';

create function capsule.reads_between("from" timestamptz, "to" timestamptz)
returns table (instance uuid, read_id bigint, read_at timestamptz, who text, peer text, method text, route text, question text, status int,
               row_count bigint, bytes bigint, digest text, ended_at timestamptz, complete boolean)
language sql stable as $$
    select b.instance, e.i, at.t, e.w, e.p, e.m, e.r, e.q, e.s, e.n, e.b, e.d, at.t, true
    from capsule.read_blocks b
    cross join lateral json_to_recordset(b.entries::json)
        as e (i bigint, w text, p text, m text, r text, q text, s int, n bigint, b bigint, d text)
    cross join lateral (select timestamptz 'epoch' + e.i * interval '1 microsecond') as at (t)
    where b.last_at >= "from" and b.first_at < "to" and at.t >= "from" and at.t < "to"
    union all
    select b.instance, b.read_id, b.read_at, b.who, b.peer, b.method, b.route, b.question, b.status,
           case when b.finished then b.row_count else e.row_count end,
           case when b.finished then b.bytes else e.bytes end,
           case when b.finished then b.digest else e.digest end,
           case when b.finished then b.read_at else e.ended_at end,
           case when b.finished then true else e.complete end
    from capsule.read_begins b left join capsule.read_ends e using (instance, read_id)
    where b.read_at >= "from" and b.read_at < "to"
$$;
comment on function capsule.reads_between(timestamptz, timestamptz) is 'Every read of history over HTTP that was recorded in ["from", "to"): capsule.reads, but only that time is looked at.';

create or replace view capsule.reads as
    select instance, read_id, read_at, who collate "C" as who, peer collate "C" as peer, method collate "C" as method, route collate "C" as route,
           question collate "C" as question, status, row_count, bytes, digest, ended_at, complete
    from capsule.reads_between('-infinity', 'infinity');

grant select, insert on capsule.read_blocks to capsule_writer;
grant select on capsule.read_blocks to capsule_auditor;
revoke execute on function capsule.reads_between(timestamptz, timestamptz) from public;
grant execute on function capsule.reads_between(timestamptz, timestamptz) to capsule_auditor;
