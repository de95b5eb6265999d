-- Sets of events that somebody rested an answer on: counted and hashed now, checked again whenever asked. Nothing is copied; rows never change, so
-- the same question known by the same moment must give the same rows for ever, wherever they have been moved to.
set local role capsule_owner;

create table capsule.frozen (
    name        text primary key check (name <> '' and length(name) <= 200),
    topics      text[],
    node_prefix text,
    from_time   timestamptz not null,
    to_time     timestamptz not null,
    known_by    timestamptz not null,
    events      bigint not null,
    sha256      bytea not null check (length(sha256) = 32),
    frozen_at   timestamptz not null default now(),
    frozen_by   text not null default session_user
);
comment on table capsule.frozen is 'Manifests of sets of events, made by capsule.freeze() and checked by capsule.verify().';
comment on column capsule.frozen.name is 'What whoever froze it called it.';
comment on column capsule.frozen.topics is 'The topics; null: all.';
comment on column capsule.frozen.node_prefix is 'What the nodes'' ids begin with; null: all nodes.';
comment on column capsule.frozen.from_time is 'Event time from, inclusive.';
comment on column capsule.frozen.to_time is 'Event time to, exclusive.';
comment on column capsule.frozen.known_by is 'Only what was recorded at or before this is in it: what comes later does not change it.';
comment on column capsule.frozen.events is 'How many event revisions.';
comment on column capsule.frozen.sha256 is 'SHA-256 over its parts'' topic, month, count and hash, in their order.';
comment on column capsule.frozen.frozen_at is 'When it was made.';
comment on column capsule.frozen.frozen_by is 'Which login made it.';

create table capsule.frozen_parts (
    name   text not null references capsule.frozen,
    topic  text collate "C" not null,
    month  text collate "C" not null,
    events bigint not null,
    sha256 bytea not null check (length(sha256) = 32),
    primary key (name, topic, month)
);
comment on table capsule.frozen_parts is 'A manifest cut by topic and month of event time, to say where a difference lies.';
comment on column capsule.frozen_parts.name is 'The manifest.';
comment on column capsule.frozen_parts.topic is 'The topic.';
comment on column capsule.frozen_parts.month is 'The month of event time in UTC, YYYY-MM.';
comment on column capsule.frozen_parts.events is 'How many event revisions.';
comment on column capsule.frozen_parts.sha256 is 'SHA-256 over the hashes of slices of a million rows, each over its rows'' hashes, in the order (recorded_at, kafka_partition, kafka_offset).';

-- A field as bytes that no neighbour can be confused with: its length, then itself; null is a length of -1.
create function capsule.hashed_field(field bytea) returns bytea language sql immutable parallel safe as $$
    select coalesce(int4send(length(field)) || field, '\xffffffff'::bytea)
$$;
comment on function capsule.hashed_field(bytea) is 'A field as it goes into an event''s hash: 4 bytes of length, then its bytes; null: -1.';

create function capsule.event_hash(e capsule.events) returns bytea language sql immutable parallel safe as $$
    select sha256(uuid_send(e.event_id) || int4send(e.revision) || int4send(e.kafka_partition) || int8send(e.kafka_offset)
        || timestamptz_send(e.event_time) || timestamptz_send(e.kafka_time) || timestamptz_send(e.recorded_at)
        || capsule.hashed_field(int4send(e.schema_id)) || capsule.hashed_field(convert_to(e.topic, 'UTF8'))
        || capsule.hashed_field(convert_to(e.rim_node_id, 'UTF8')) || capsule.hashed_field(convert_to(e.trace_id, 'UTF8'))
        || capsule.hashed_field(uuid_send(e.cause_id)) || capsule.hashed_field(convert_to(e.source_id, 'UTF8'))
        || capsule.hashed_field(convert_to(e.payload::text, 'UTF8')) || capsule.hashed_field(e.content_hash)
        || capsule.hashed_field(e.key) || capsule.hashed_field(e.headers) || capsule.hashed_field(e.raw))
$$;
comment on function capsule.event_hash(capsule.events) is 'SHA-256 over all that an event''s row says: ids and clocks in their binary form, the rest as capsule.hashed_field().';

-- Slices keep what is gathered in memory small, however many events a month has.
create function capsule.frozen_content(topics text[], node_prefix text, from_time timestamptz, to_time timestamptz, known_by timestamptz)
returns table (topic text, month text, events bigint, sha256 bytea) language plpgsql stable parallel restricted
set search_path = pg_catalog set jit = off as $$
declare
    t record;
begin
    for t in select x.topic, x.event_table from capsule.topics x
             where frozen_content.topics is null or x.topic = any (frozen_content.topics) order by x.topic loop
        return query execute format($q$
            select $1, s.month, sum(s.n)::bigint, sha256(string_agg(s.h, ''::bytea order by s.slice))
            from (select r.month, r.slice, count(*) as n, sha256(string_agg(r.h, ''::bytea order by r.place)) as h
                  from (select x.month, x.h, x.place, (x.place - 1) / 1000000 as slice
                        from (select to_char(e.event_time at time zone 'UTC', 'YYYY-MM') as month, capsule.event_hash(e) as h,
                                     row_number() over (partition by to_char(e.event_time at time zone 'UTC', 'YYYY-MM')
                                                        order by e.recorded_at, e.kafka_partition, e.kafka_offset) as place
                              from capsule.events e
                              where e.topic = %L and e.event_time >= $2 and e.event_time < $3 and e.recorded_at <= $4
                                and ($5 is null or starts_with(e.rim_node_id, $5))) x) r
                  group by r.month, r.slice) s
            group by s.month order by s.month$q$, t.topic)
            using t.topic, from_time, to_time, frozen_content.known_by, node_prefix;
    end loop;
end
$$;
comment on function capsule.frozen_content(text[], text, timestamptz, timestamptz, timestamptz) is 'Count and hash of a set of events by topic and month, as the rows are now.';

create function capsule.closed_through() returns timestamptz language sql stable set search_path = pg_catalog as $$
    select min(coalesce(i.archived_through, '-infinity'))
    from capsule.instances i where i.owner in (select s.owner from capsule.partition_state s)
$$;
comment on function capsule.closed_through() is 'Nothing more will come that was recorded at or before this: how far every instance that holds a partition is archived. Null: nobody holds one.';

create function capsule.freeze(name text, topics text[] default null, "from" timestamptz default '-infinity', "to" timestamptz default 'infinity',
                               node_prefix text default null, known_by timestamptz default null)
returns capsule.frozen language plpgsql security definer set search_path = pg_catalog as $$
declare
    closed constant timestamptz := capsule.closed_through();
    by_time constant timestamptz := coalesce("freeze".known_by, closed);
    unknown text;
    made    capsule.frozen;
begin
    if "from" >= "to" then
        raise exception 'nothing lies between % and %', "from", "to" using errcode = 'invalid_parameter_value';
    end if;
    select x into unknown from unnest("freeze".topics) as u (x) where not exists (select from capsule.topics t where t.topic = u.x) limit 1;
    if unknown is not null then
        raise exception 'there is no topic %', unknown using errcode = 'invalid_parameter_value';
    end if;
    if by_time is null or by_time > closed or by_time = '-infinity' then
        raise exception 'what was recorded by % may not be complete yet: the archive is closed through %', coalesce(by_time::text, 'now'),
            coalesce(closed::text, 'nothing') using errcode = 'object_not_in_prerequisite_state', hint = 'Choose an earlier known_by, or ask again.';
    end if;
    insert into capsule.frozen (name, topics, node_prefix, from_time, to_time, known_by, events, sha256)
        values ("freeze".name, "freeze".topics, "freeze".node_prefix, "from", "to", by_time, 0, sha256(''));
    insert into capsule.frozen_parts (name, topic, month, events, sha256)
        select "freeze".name, c.* from capsule.frozen_content("freeze".topics, "freeze".node_prefix, "from", "to", by_time) c;
    update capsule.frozen f set events = s.events, sha256 = s.sha256
        from (select coalesce(sum(p.events), 0)::bigint as events,
                     sha256(coalesce(string_agg(convert_to(p.topic || ' ' || p.month || ' ' || p.events || ' ', 'UTF8') || p.sha256, ''::bytea
                                                order by p.topic, p.month), '')) as sha256
              from capsule.frozen_parts p where p.name = "freeze".name) s
        where f.name = "freeze".name returning f.* into made;
    return made;
end
$$;
comment on function capsule.freeze(text, text[], timestamptz, timestamptz, text, timestamptz) is 'Count and hash the events of these topics (null: all) with event time in ["from", "to") and this node prefix, as known by a moment (null: all that is archived for sure), and keep the result under a name. A name is given once.';

create function capsule.verify(name text, out ok boolean, out events_then bigint, out events_now bigint, out differs text[])
language plpgsql stable set search_path = pg_catalog as $$
declare
    f    capsule.frozen;
    seal bytea;
begin
    select * into f from capsule.frozen x where x.name = verify.name;
    if f.name is null then
        raise exception 'nothing is frozen under the name %', verify.name using errcode = 'no_data_found';
    end if;
    events_then := f.events;
    select coalesce(sum(n.events), 0),
           array_agg(format('%s %s: %s events, %s now%s', coalesce(p.topic, n.topic), coalesce(p.month, n.month), coalesce(p.events, 0),
                            coalesce(n.events, 0), case when p.events = n.events then ', other content' else '' end)
                     order by coalesce(p.topic, n.topic), coalesce(p.month, n.month))
               filter (where (p.events, p.sha256) is distinct from (n.events, n.sha256))
        into events_now, differs
        from (select * from capsule.frozen_parts q where q.name = f.name) p
        full join capsule.frozen_content(f.topics, f.node_prefix, f.from_time, f.to_time, f.known_by) n on n.topic = p.topic and n.month = p.month;
    select sha256(coalesce(string_agg(convert_to(p.topic || ' ' || p.month || ' ' || p.events || ' ', 'UTF8') || p.sha256, ''::bytea
                                      order by p.topic, p.month), '')) into seal from capsule.frozen_parts p where p.name = f.name;
    if seal <> f.sha256 then
        differs := array['the manifest itself was changed'] || differs;
    end if;
    ok := differs is null;
    differs := coalesce(differs, '{}');
end
$$;
comment on function capsule.verify(text) is 'Count and hash a frozen set again: ok where every part is as it was; else differs says which parts are not.';

grant select on capsule.frozen, capsule.frozen_parts to capsule_writer, capsule_reader, capsule_auditor;
revoke execute on function capsule.freeze(text, text[], timestamptz, timestamptz, text, timestamptz) from public;
grant execute on function capsule.freeze(text, text[], timestamptz, timestamptz, text, timestamptz) to capsule_auditor;
