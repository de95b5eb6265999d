-- Records that are taken in after all: the ledger and the quarantine say so, the event stands in capsule.events with its original coordinates.
set local role capsule_owner;

create function capsule.mark_redriven(topic text, part int, at_offset bigint, disposition text, at timestamptz) returns void
language plpgsql security definer set search_path = pg_catalog as $$
declare
    whole capsule.coverage;
begin
    update capsule.quarantine q set redriven_at = at
        where q.topic = mark_redriven.topic and q.kafka_partition = part and q.kafka_offset = at_offset and q.redriven_at is null;
    delete from capsule.coverage c
        where c.topic = mark_redriven.topic and c.kafka_partition = part and c.from_offset <= at_offset and c.to_offset > at_offset
          and c.disposition = 'quarantined'
        returning * into whole;
    if whole.topic is null then -- it was marked before
        return;
    end if;
    insert into capsule.coverage (topic, kafka_partition, from_offset, to_offset, disposition)
        select whole.topic, part, p.from_offset, p.to_offset, p.disposition
        from (values (whole.from_offset, at_offset, 'quarantined'), (at_offset, at_offset + 1, mark_redriven.disposition),
                     (at_offset + 1, whole.to_offset, 'quarantined')) as p (from_offset, to_offset, disposition)
        where p.from_offset < p.to_offset;
end
$$;
comment on function capsule.mark_redriven(text, int, bigint, text, timestamptz) is 'Note that a quarantined record was taken in after all, as stored or duplicate: redriven_at, and its one offset in the ledger.';
revoke execute on function capsule.mark_redriven(text, int, bigint, text, timestamptz) from public;
grant execute on function capsule.mark_redriven(text, int, bigint, text, timestamptz) to capsule_writer;

create view capsule.redriven_events as
    select e.*, q.reason as quarantine_reason, q.quarantined_at, q.redriven_at
    from capsule.quarantine q join capsule.events e
        on e.topic = q.topic and e.kafka_partition = q.kafka_partition and e.kafka_offset = q.kafka_offset and e.recorded_at = q.redriven_at;
comment on view capsule.redriven_events is 'Events that were in quarantine first: as in capsule.events, and why they were there, since when and until when.';
do $$ -- the view's columns mean what the tables' do
declare
    c record;
begin
    for c in select a.attname, coalesce(col_description('capsule.events'::regclass, e.attnum), col_description('capsule.quarantine'::regclass, q.attnum),
                                        'Why it was in quarantine.') as about
             from pg_attribute a
             left join pg_attribute e on e.attrelid = 'capsule.events'::regclass and e.attname = a.attname
             left join pg_attribute q on q.attrelid = 'capsule.quarantine'::regclass and q.attname = a.attname
             where a.attrelid = 'capsule.redriven_events'::regclass and a.attnum > 0 loop
        execute format('comment on column capsule.redriven_events.%I is %L', c.attname, c.about);
    end loop;
end
$$;
grant select on capsule.redriven_events to capsule_writer, capsule_auditor;
