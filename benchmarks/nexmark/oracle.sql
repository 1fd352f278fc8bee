-- The queries for DuckDB. `events` is the Parquet file; times are in UTC. Rows are in any order.
-- q0: Pass through: every bid.
SELECT auction, bidder, price, channel, time FROM events WHERE kind = 2;
-- q1: Currency: every bid in euros.
SELECT auction, bidder, price::DOUBLE * 0.908 AS euros, channel, time FROM events WHERE kind = 2;
-- q2: Selection: bids on some auctions.
SELECT auction, price FROM events WHERE kind = 2 AND auction % 123 = 0;
-- q3: Local items: who sells in some states what is of one category.
SELECT p.name, p.city, p.state, a.id AS auction
FROM events a JOIN events p ON p.id = a.seller
WHERE a.kind = 1 AND a.category = 10 AND p.kind = 0 AND p.state IN ('OR', 'ID', 'CA');
-- q4: Average price of a category: the mean of the highest bids of its auctions while these were open.
SELECT category, avg(final) AS price FROM (
    SELECT a.id, a.category, max(b.price) AS final
    FROM events a JOIN events b ON b.auction = a.id AND b.time BETWEEN a.time AND a.expires
    WHERE a.kind = 1 AND b.kind = 2 GROUP BY a.id, a.category
) GROUP BY category;
-- q5: Hot items: the auctions with the most bids of the last 10 seconds, every 2 seconds.
WITH counts AS (
    SELECT auction, time_bucket(INTERVAL '2 seconds', time) - INTERVAL '2 seconds' * hop AS window_start, count(*) AS bids
    FROM events, range(5) hops(hop) WHERE kind = 2 GROUP BY ALL
)
SELECT window_start, auction, bids FROM counts
QUALIFY bids = max(bids) OVER (PARTITION BY window_start);
-- q6: Average of the last 10 prices of a seller, at each auction that ends with a bid, in order of its end.
WITH winners AS (
    SELECT a.id, a.seller, a.expires, max(b.price) AS final
    FROM events a JOIN events b ON b.auction = a.id AND b.time BETWEEN a.time AND a.expires
    WHERE a.kind = 1 AND b.kind = 2 GROUP BY ALL
)
SELECT seller, id AS auction,
    avg(final) OVER (PARTITION BY seller ORDER BY expires, id ROWS BETWEEN 9 PRECEDING AND CURRENT ROW) AS price
FROM winners;
-- q7: Highest bid of every 10 seconds.
SELECT time_bucket(INTERVAL '10 seconds', time) AS window_start, auction, bidder, price FROM events WHERE kind = 2
QUALIFY price = max(price) OVER (PARTITION BY time_bucket(INTERVAL '10 seconds', time));
-- q8: New users: who registered and offered something in the same 10 seconds.
SELECT DISTINCT time_bucket(INTERVAL '10 seconds', p.time) AS window_start, p.id AS person, p.name
FROM events p JOIN events a
    ON a.seller = p.id AND time_bucket(INTERVAL '10 seconds', a.time) = time_bucket(INTERVAL '10 seconds', p.time)
WHERE p.kind = 0 AND a.kind = 1;
-- q11: User sessions: bids of a person that are less than 10 seconds apart.
WITH bids AS (
    SELECT bidder, time,
        coalesce(time - lag(time) OVER (PARTITION BY bidder ORDER BY time) >= INTERVAL '10 seconds', true) AS begins
    FROM events WHERE kind = 2
), numbered AS (
    SELECT bidder, time, sum(begins::INT) OVER (PARTITION BY bidder ORDER BY time ROWS UNBOUNDED PRECEDING) AS session
    FROM bids
)
SELECT bidder, min(time) AS window_start, max(time) + INTERVAL '10 seconds' AS window_end, count(*) AS bids
FROM numbered GROUP BY bidder, session;
-- words: How often each word comes.
SELECT word, count(*) AS times FROM (SELECT unnest(string_split(text, ' ')) AS word FROM events) GROUP BY word;
