-- Whether scripts and writes are welcome here. Changes nothing.
even_when_full()
return redis.status_reply('OK')
