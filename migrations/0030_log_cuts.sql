-- A partition's log can be cut back by an unclean election, or made anew with its topic. What stood beyond the cut was recorded and stays; its offsets
-- belong to other records from then on. Here stands where and when, and what the ledger said of those offsets before.
set local role capsule_owner;

create table capsule.log_cuts (
    topic           text collate "C" not null,
    kafka_partition int not null,
    cut_at          timestamptz not null,
    from_offset     bigint not null check (from_offset >= 0),
    to_offset       bigint not null,
    owner           uuid not null,
    primary key (topic, kafka_partition, cut_at),
    check (from_offset < to_offset)
);
comment on table capsule.log_cuts is 'Where a partition''s log turned out to hold other records than were read from it before: an unclean election cut it back, or the topic was deleted and made anew. Rows of capsule.events with kafka_offset in [from_offset, to_offset) and recorded_at <= cut_at are of the log as it was before.';
comment on column capsule.log_cuts.topic is 'Kafka''s topic.';
comment on column capsule.log_cuts.kafka_partition is 'The partition.';
comment on column capsule.log_cuts.cut_at is 'When it was found, on the clock of recorded_at.';
comment on column capsule.log_cuts.from_offset is 'The first offset that is not known to hold the same record as before; reading went on here.';
comment on column capsule.log_cuts.to_offset is 'How far the log had been read before.';
comment on column capsule.log_cuts.owner is 'The instance that found it.';

create table capsule.coverage_before_cuts (
    topic           text collate "C" not null,
    kafka_partition int not null,
    cut_at          timestamptz not null,
    from_offset     bigint not null,
    to_offset       bigint not null,
    disposition     text not null,
    primary key (topic, kafka_partition, cut_at, from_offset),
    foreign key (topic, kafka_partition, cut_at) references capsule.log_cuts
);
comment on table capsule.coverage_before_cuts is 'What capsule.coverage said of the offsets beyond a cut until it was found.';
comment on column capsule.coverage_before_cuts.topic is 'Kafka''s topic.';
comment on column capsule.coverage_before_cuts.kafka_partition is 'The partition.';
comment on column capsule.coverage_before_cuts.cut_at is 'Which cut, see capsule.log_cuts.';
comment on column capsule.coverage_before_cuts.from_offset is 'First offset of the interval.';
comment on column capsule.coverage_before_cuts.to_offset is 'First offset after it.';
comment on column capsule.coverage_before_cuts.disposition is 'As in capsule.coverage.';

-- The writer may not delete from the ledger; this is the one way in which it shrinks, and it leaves its trace.
create function capsule.cut_partition(topic text, part int, from_offset bigint, to_offset bigint, cut_at timestamptz, owner uuid) returns boolean
language plpgsql security definer set search_path = pg_catalog as $$
begin
    update capsule.partition_state s set next_offset = cut_partition.from_offset, updated_at = now()
        where s.topic = cut_partition.topic and s.kafka_partition = part and s.owner = cut_partition.owner and s.next_offset = cut_partition.to_offset;
    if not found then
        return false;
    end if;
    insert into capsule.log_cuts (topic, kafka_partition, cut_at, from_offset, to_offset, owner)
        values (cut_partition.topic, part, cut_partition.cut_at, cut_partition.from_offset, cut_partition.to_offset, cut_partition.owner);
    insert into capsule.coverage_before_cuts (topic, kafka_partition, cut_at, from_offset, to_offset, disposition)
        select c.topic, c.kafka_partition, cut_partition.cut_at, greatest(c.from_offset, cut_partition.from_offset), c.to_offset, c.disposition
        from capsule.coverage c where c.topic = cut_partition.topic and c.kafka_partition = part and c.to_offset > cut_partition.from_offset;
    delete from capsule.coverage c
        where c.topic = cut_partition.topic and c.kafka_partition = part and c.from_offset >= cut_partition.from_offset;
    update capsule.coverage c set to_offset = cut_partition.from_offset
        where c.topic = cut_partition.topic and c.kafka_partition = part and c.to_offset > cut_partition.from_offset;
    return true;
end
$$;
comment on function capsule.cut_partition(text, int, bigint, bigint, timestamptz, uuid) is 'Note that a partition''s log holds other records than before from from_offset on: the ledger beyond it goes to coverage_before_cuts, and next_offset goes back. False: the partition is not this owner''s, or is not archived up to to_offset.';

grant select on capsule.log_cuts, capsule.coverage_before_cuts to capsule_writer, capsule_reader, capsule_auditor;
revoke execute on function capsule.cut_partition(text, int, bigint, bigint, timestamptz, uuid) from public;
grant execute on function capsule.cut_partition(text, int, bigint, bigint, timestamptz, uuid) to capsule_writer;
