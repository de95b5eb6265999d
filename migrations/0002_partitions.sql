-- Partitions of capsule.events: one table for each topic, cut by event time. Made beside the table and then attached, which blocks neither readers
-- nor writers. Run with the owner's rights, so that the writer needs none to make tables.
set local role capsule_owner;

create function capsule.free_name(wanted text) returns name language plpgsql stable set search_path = pg_catalog as $$
declare
    candidate text := left(wanted, 60);
begin
    for i in 1 .. 100 loop
        if to_regclass(format('capsule.%I', candidate)) is null
           and not exists (select from capsule.topics where candidate::name in (event_table, typed_view)) then
            return candidate;
        end if;
        candidate := left(wanted, 50) || '_' || substr(md5(wanted || i), 1, 8);
    end loop;
    raise exception 'no free name for %', wanted;
end
$$;
comment on function capsule.free_name(text) is 'A name for a table or view of this schema that nothing has yet: the wanted one, else with a suffix.';

create function capsule.ensure_topic(topic text, cut text) returns name language plpgsql security definer set search_path = pg_catalog as $$
declare
    found_table name;
    found_cut   text;
    base        text := replace(replace(ensure_topic.topic, '.', '_'), '-', '_');
begin
    select t.event_table, t.archive_cut into found_table, found_cut from capsule.topics t where t.topic = ensure_topic.topic;
    if found_table is not null and found_cut = cut then
        return found_table;
    end if;
    perform pg_advisory_xact_lock(hashtextextended('capsule.topic:' || ensure_topic.topic, 0));
    select t.event_table into found_table from capsule.topics t where t.topic = ensure_topic.topic;
    if found_table is not null then
        update capsule.topics t set archive_cut = cut where t.topic = ensure_topic.topic and t.archive_cut <> cut;
        return found_table;
    end if;
    perform pg_advisory_xact_lock(hashtextextended('capsule.topics', 0));
    found_table := capsule.free_name('events_' || base);
    insert into capsule.topics (topic, archive_cut, event_table, typed_view)
        values (ensure_topic.topic, cut, found_table, capsule.free_name(base));
    execute format('create table capsule.%I (like capsule.events including all) partition by range (event_time)', found_table);
    execute format('comment on table capsule.%I is %L', found_table,
                   'Partition of capsule.events: topic ' || ensure_topic.topic || ', itself cut by event time.');
    execute format('alter table capsule.events attach partition capsule.%I for values in (%L)', found_table, ensure_topic.topic);
    execute format('grant select on capsule.%I to capsule_writer, capsule_reader, capsule_auditor', found_table);
    return found_table;
end
$$;
comment on function capsule.ensure_topic(text, text) is 'Make a topic''s table when it is missing and say how it is cut from now on (daily, monthly, yearly); gives the table''s name. May be called at any time by anybody who writes.';

create function capsule.partition_unit(cut text, made bigint, at timestamptz) returns text language sql immutable as $$
    select case
        when at < '1900-01-01Z' or at >= '2200-01-01Z' then 'century'
        when made >= 1500 then 'century'
        when made >= 800 and cut <> 'yearly' then 'year'
        else case cut when 'daily' then 'day' when 'monthly' then 'month' else 'year' end
    end
$$;
comment on function capsule.partition_unit(text, bigint, timestamptz) is 'How long the partition for a time is to be: as its topic is cut, but coarse for times far from ours and where a topic has very many already, so that wrong clocks cannot make partitions without end.';

create function capsule.ensure_partition(topic text, at timestamptz, out from_time timestamptz, out to_time timestamptz)
language plpgsql security definer set search_path = pg_catalog as $$
declare
    t         capsule.topics;
    made      bigint;
    unit      text;
    gap_from  timestamptz;
    gap_to    timestamptz;
    part      name;
begin
    select p.from_time, p.to_time into from_time, to_time from capsule.event_partitions p
        where p.topic = ensure_partition.topic and p.from_time <= at order by p.from_time desc limit 1;
    if at < to_time then
        return;
    end if;
    perform pg_advisory_xact_lock(hashtextextended('capsule.topic:' || ensure_partition.topic, 0));
    select * into strict t from capsule.topics x where x.topic = ensure_partition.topic;
    select count(*) into made from capsule.event_partitions p where p.topic = t.topic;
    select p.from_time, p.to_time into from_time, to_time from capsule.event_partitions p
        where p.topic = t.topic and p.from_time <= at order by p.from_time desc limit 1;
    if at < to_time then
        return;
    end if;
    gap_from := to_time;
    select p.from_time into gap_to from capsule.event_partitions p where p.topic = t.topic and p.from_time > at order by p.from_time limit 1;
    unit := capsule.partition_unit(t.archive_cut, made, at);
    from_time := date_trunc(unit, at, 'UTC');
    to_time := ((from_time at time zone 'UTC') + ('1 ' || unit)::interval) at time zone 'UTC';
    from_time := greatest(from_time, gap_from);
    to_time := least(to_time, gap_to);
    part := capsule.free_name(left(t.event_table, 45) || '_p' || to_char(from_time at time zone 'UTC', 'YYYYMMDD'));
    execute format('create table capsule.%I (like capsule.%I including all)', part, t.event_table);
    execute format('comment on table capsule.%I is %L', part, format('Partition of capsule.events: topic %s, event time from %s to before %s.', t.topic,
                   to_char(from_time at time zone 'UTC', 'YYYY-MM-DD'), to_char(to_time at time zone 'UTC', 'YYYY-MM-DD')));
    execute format('alter table capsule.%I attach partition capsule.%I for values from (%L) to (%L)', t.event_table, part, from_time, to_time);
    insert into capsule.event_partitions (topic, from_time, to_time, event_table) values (t.topic, from_time, to_time, part);
end
$$;
comment on function capsule.ensure_partition(text, timestamptz) is 'Make the partition of a topic that holds this event time when it is missing; gives its range. Where its neighbours leave less room than a whole unit, it takes what is free.';

create function capsule.ensure_partitions(topic text, cut text, times timestamptz[])
returns table (from_time timestamptz, to_time timestamptz) language plpgsql security definer set search_path = pg_catalog as $$
declare
    step interval := case cut when 'daily' then interval '1 day' when 'monthly' then interval '1 month' else interval '1 year' end;
begin
    perform capsule.ensure_topic(ensure_partitions.topic, cut);
    return query
        select distinct p.from_time, p.to_time
        from (select distinct x.at from unnest(times || array[now(), now() + step, now() + 2 * step]) as x (at) order by x.at) as wanted,
            lateral capsule.ensure_partition(ensure_partitions.topic, wanted.at) as p;
end
$$;
comment on function capsule.ensure_partitions(text, text, timestamptz[]) is 'Make a topic and its partitions for these event times, and always those for now and the next two units ahead. Gives their ranges.';

revoke execute on all functions in schema capsule from public;
grant execute on function capsule.ensure_partitions(text, text, timestamptz[]) to capsule_writer;
