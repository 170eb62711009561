DROP TABLE ceilings;
UPDATE vouchers SET acknowledged = zeroblob(16) WHERE EXISTS (SELECT 1 FROM identity WHERE role = 'agent');
