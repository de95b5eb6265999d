-- A hot store remembers which database it was filled beside, so that it is never archived into another one by mistake.
set local role capsule_owner;
alter table capsule.cluster add column archive_id uuid not null default gen_random_uuid();
comment on column capsule.cluster.archive_id is 'Which database this is; a backup of it has the same. A hot store that was filled beside another one is refused.';
