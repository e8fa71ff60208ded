-- One name for a PV: X.VAL and ca://X are the channel X. Where both are known, both stay: snapshots have values of each.
UPDATE channel SET name = substr(name, 6)
WHERE name LIKE 'ca://_%' AND NOT EXISTS (SELECT FROM channel AS other WHERE other.name = substr(channel.name, 6));
UPDATE channel SET name = left(name, -4)
WHERE name LIKE '%_.VAL' AND NOT EXISTS (SELECT FROM channel AS other WHERE other.name = left(channel.name, -4));
