-- A redriven event says so itself, in every answer and query.
set local role capsule_owner;

alter table capsule.events add column redriven boolean;
comment on column capsule.events.redriven is 'True where it was in quarantine first and was taken in later (capsule.redriven_events says why it was there); null elsewhere.';

create or replace view capsule.current_events as
    select e.* from capsule.events e
    where e.event_time <= capsule.as_of() and e.recorded_at <= capsule.known_by()
      and not exists (select from capsule.revisions r where r.topic = e.topic and r.event_id = e.event_id and r.revision > e.revision
                                                        and r.recorded_at <= capsule.known_by());
comment on column capsule.current_events.redriven is 'True where it was in quarantine first and was taken in later (capsule.redriven_events says why it was there); null elsewhere.';
