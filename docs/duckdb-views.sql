-- The views of `patchlight sql`, but storage_by_table, for DuckDB with its extension `lance`.
-- docs/sql.md says how to load it. Before this file is read, tell where the database is:
--
--     SET VARIABLE db = 'mydb';
--
-- Written by `python -m patchlight.tasks.admin.duckdbviews` from storage/sqlviews.py.

CREATE OR REPLACE VIEW raw_meta AS
FROM query('FROM ''' || getvariable('db') || '/meta.lance''');

CREATE OR REPLACE VIEW raw_documents AS
FROM query('FROM ''' || getvariable('db') || '/documents.lance''');

CREATE OR REPLACE VIEW raw_pages AS
FROM query('FROM ''' || getvariable('db') || '/pages.lance''');

CREATE OR REPLACE VIEW raw_regions AS
FROM query('FROM ''' || getvariable('db') || '/regions.lance''');

CREATE OR REPLACE VIEW raw_words AS
FROM query('FROM ''' || getvariable('db') || '/words.lance''');

CREATE OR REPLACE VIEW raw_patches AS
FROM query('FROM ''' || getvariable('db') || '/patches.lance''');

CREATE OR REPLACE VIEW raw_metadata AS
FROM query('FROM ''' || getvariable('db') || '/metadata.lance''');

CREATE OR REPLACE VIEW raw_failures AS
FROM query('FROM ''' || getvariable('db') || '/failures.lance''');

CREATE OR REPLACE VIEW raw_retrievals AS
FROM query('FROM ''' || getvariable('db') || '/retrievals.lance''');

CREATE OR REPLACE VIEW raw_runs AS
FROM query('FROM ''' || getvariable('db') || '/runs.lance''');

CREATE OR REPLACE VIEW raw_statistics AS
FROM query('FROM ''' || getvariable('db') || '/statistics.lance''');

CREATE OR REPLACE VIEW raw_term_counts AS
FROM query('FROM ''' || getvariable('db') || '/term_counts.lance''');

CREATE OR REPLACE VIEW raw_page_keys AS
FROM query('FROM ''' || getvariable('db') || '/page_keys.lance''');

CREATE OR REPLACE VIEW raw_sequences AS
FROM query('FROM ''' || getvariable('db') || '/sequences.lance''');

CREATE OR REPLACE VIEW raw_all_regions AS
SELECT * FROM raw_regions
UNION ALL
SELECT page_id || ':' || lpad(number, CAST(greatest(5, length(number)) AS INT), '0') AS region_id,
    page_key, doc_id, page_id, page, r['index'] AS "index", 'word' AS kind,
    CASE WHEN r['parent'] >= 0 THEN
        page_id || ':' || lpad(parent, CAST(greatest(5, length(parent)) AS INT), '0')
    END AS parent_id,
    r['reading_order'] AS reading_order, NULL AS table_id, NULL AS "row", NULL AS col, NULL AS row_span, NULL AS col_span,
    r['x0'] AS x0, r['y0'] AS y0, r['x1'] AS x1, r['y1'] AS y1,
    r['text'] AS text, NULL AS terms, r['confidence'] AS confidence
FROM (
    SELECT *, CAST(r['index'] AS VARCHAR) AS number, CAST(r['parent'] AS VARCHAR) AS parent
    FROM (SELECT page_key, doc_id, page_id, page, unnest(words) AS r FROM raw_words)
)
UNION ALL
SELECT page_id || ':' || lpad(number, CAST(greatest(5, length(number)) AS INT), '0') AS region_id,
    page_key, doc_id, page_id, page, r['index'] AS "index", 'line' AS kind,
    CASE WHEN r['parent'] >= 0 THEN
        page_id || ':' || lpad(parent, CAST(greatest(5, length(parent)) AS INT), '0')
    END AS parent_id,
    r['reading_order'] AS reading_order, NULL AS table_id, NULL AS "row", NULL AS col, NULL AS row_span, NULL AS col_span,
    r['x0'] AS x0, r['y0'] AS y0, r['x1'] AS x1, r['y1'] AS y1,
    r['text'] AS text, NULL AS terms, r['confidence'] AS confidence
FROM (
    SELECT *, CAST(r['index'] AS VARCHAR) AS number, CAST(r['parent'] AS VARCHAR) AS parent
    FROM (SELECT page_key, doc_id, page_id, page, unnest(lines) AS r FROM raw_words)
);

CREATE OR REPLACE VIEW meta AS
SELECT * FROM raw_meta;

CREATE OR REPLACE VIEW documents AS
SELECT * FROM raw_documents WHERE status IN ('complete', 'partial');

CREATE OR REPLACE VIEW pages AS
SELECT * FROM raw_pages WHERE doc_id IN (SELECT doc_id FROM raw_documents WHERE status IN ('complete', 'partial'));

CREATE OR REPLACE VIEW regions AS
SELECT * FROM raw_regions WHERE doc_id IN (SELECT doc_id FROM raw_documents WHERE status IN ('complete', 'partial'));

CREATE OR REPLACE VIEW words AS
SELECT * FROM raw_words WHERE doc_id IN (SELECT doc_id FROM raw_documents WHERE status IN ('complete', 'partial'));

CREATE OR REPLACE VIEW patches AS
SELECT * FROM raw_patches WHERE doc_id IN (SELECT doc_id FROM raw_documents WHERE status IN ('complete', 'partial'));

CREATE OR REPLACE VIEW metadata AS
SELECT * FROM raw_metadata WHERE doc_id IN (SELECT doc_id FROM raw_documents WHERE status IN ('complete', 'partial'));

CREATE OR REPLACE VIEW failures AS
SELECT * FROM raw_failures;

CREATE OR REPLACE VIEW retrievals AS
SELECT * FROM raw_retrievals;

CREATE OR REPLACE VIEW runs AS
SELECT * FROM raw_runs;

CREATE OR REPLACE VIEW statistics AS
SELECT * FROM raw_statistics;

CREATE OR REPLACE VIEW term_counts AS
SELECT * FROM raw_term_counts;

CREATE OR REPLACE VIEW page_keys AS
SELECT * FROM raw_page_keys;

CREATE OR REPLACE VIEW sequences AS
SELECT * FROM raw_sequences;

CREATE OR REPLACE VIEW all_regions AS
SELECT * FROM raw_all_regions WHERE doc_id IN (SELECT doc_id FROM raw_documents WHERE status IN ('complete', 'partial'));

CREATE OR REPLACE VIEW coverage AS
SELECT d.doc_id, d.name, d.status, d.page_count, d.pages_stored, d.pages_failed,
    coalesce(p.text_layer_pages, 0) AS text_layer_pages,
    coalesce(p.ocr_pages, 0) AS ocr_pages,
    coalesce(p.no_words_pages, 0) AS no_words_pages,
    coalesce(p.words, 0) AS words, coalesce(p.regions, 0) AS regions,
    coalesce(t.n, 0) AS tables
FROM documents d
LEFT JOIN (
    SELECT doc_id, CAST(sum(n_words) AS BIGINT) AS words,
        CAST(sum(n_regions) AS BIGINT) AS regions,
        count(CASE WHEN words_source = 'text_layer' THEN 1 END) AS text_layer_pages,
        count(CASE WHEN words_source = 'ocr' THEN 1 END) AS ocr_pages,
        count(CASE WHEN words_source = 'none' THEN 1 END) AS no_words_pages
    FROM pages GROUP BY doc_id
) p ON p.doc_id = d.doc_id
LEFT JOIN (
    SELECT doc_id, count(*) AS n FROM regions WHERE kind = 'table' GROUP BY doc_id
) t ON t.doc_id = d.doc_id;

CREATE OR REPLACE VIEW failure_causes AS
SELECT f.category, f.stage, f.failures, f.of_documents, f.of_pages, f.retryable, h.what_helps
FROM (
    SELECT category, stage, count(*) AS failures,
        count(CASE WHEN page = 0 THEN 1 END) AS of_documents,
        count(CASE WHEN page > 0 THEN 1 END) AS of_pages,
        count(CASE WHEN retryable THEN 1 END) AS retryable
    FROM failures GROUP BY category, stage
) f
LEFT JOIN (VALUES ('missing', 'Check the path and the permissions.'), ('unsupported', 'Convert the file to PDF.'), ('empty', 'Fetch or export it again.'), ('corrupt', 'Fetch or export it again.'), ('encrypted', 'Give it with --passwords FILE.'), ('too_large', 'The message says which. Lower --dpi, scale the page down, cut the file into parts, or raise that setting. More --visual-tokens hold a longer strip, in a new --db.'), ('out_of_memory', 'Raise that setting, or lower --dpi. End what else uses the GPU or the memory, use fewer workers or a machine with more memory, and ingest again. Fewer --visual-tokens take less, in a new --db.'), ('ocr', 'Read the message; try again.'), ('timeout', 'Raise that setting, or lower --dpi. Save a page that is slow to draw again, in a simpler form.'), ('encoder', 'Read the message; try again.'), ('changed', 'Ingest it again when it is at rest.'), ('crashed', 'It may be damaged or need more memory: open it in a viewer, save it again, or use fewer workers.'), ('internal', 'Report it, and try again.')) AS h(category, what_helps) ON h.category = f.category;

CREATE OR REPLACE VIEW reading AS
SELECT d.name, r.doc_id, r.page, r.reading_order, r.kind, r.text,
    CASE WHEN r.parent_id IS NULL THEN 0 WHEN p.parent_id IS NULL THEN 1
        WHEN q.parent_id IS NULL THEN 2 ELSE 3 END AS depth,
    r.region_id, r.page_key
FROM regions r
JOIN documents d ON d.doc_id = r.doc_id
LEFT JOIN raw_regions p ON p.region_id = r.parent_id
    AND p.page_key = r.page_key AND p.doc_id = r.doc_id AND p.page = r.page
LEFT JOIN raw_regions q ON q.region_id = p.parent_id
    AND q.page_key = p.page_key AND q.doc_id = p.doc_id AND q.page = p.page;

CREATE OR REPLACE VIEW table_cells AS
SELECT r.table_id, d.name, r.doc_id, r.page, r."row", r.col, r.row_span, r.col_span, r.text,
    r.region_id
FROM regions r
JOIN documents d ON d.doc_id = r.doc_id
WHERE r.kind = 'cell' AND r.table_id IS NOT NULL;

CREATE OR REPLACE VIEW last_answers AS
SELECT t.query_id, t.query, t.page_rank, t.region_rank, d.name, t.page, t.kind, t.text,
    t.page_score, t.score, t.x0, t.y0, t.x1, t.y1, t.metadata, t.doc_id, t.region_id, t.run_id
FROM retrievals t
JOIN runs u ON u.run_id = t.run_id
LEFT JOIN documents d ON d.doc_id = t.doc_id
WHERE u.number = (
    SELECT max(number) FROM runs
    WHERE kind = 'query' AND status IN ('completed', 'completed_with_failures')
);

CREATE OR REPLACE VIEW slowest_pages AS
SELECT d.name, p.doc_id, p.page, p.words_source, p.n_words, p.words_ms, p.regions_ms, p.encoder_ms,
    p.words_ms + p.regions_ms + p.encoder_ms AS total_ms
FROM pages p
JOIN documents d ON d.doc_id = p.doc_id;

CREATE OR REPLACE VIEW stage_times AS
SELECT stage, count(ms) AS pages, round(sum(ms) / 1000, 3) AS total_s,
    round(median(ms), 1) AS median_ms,
    round(percentile_cont(0.9) WITHIN GROUP (ORDER BY ms), 1) AS p90_ms
FROM (SELECT 'words' AS stage, CAST(words_ms AS DOUBLE) AS ms FROM pages
    UNION ALL SELECT 'regions' AS stage, CAST(regions_ms AS DOUBLE) AS ms FROM pages
    UNION ALL SELECT 'encoder' AS stage, CAST(encoder_ms AS DOUBLE) AS ms FROM pages)
GROUP BY stage;

CREATE OR REPLACE VIEW runs_over_time AS
SELECT number, run_id, kind, status, started_at,
    round(date_part('epoch', ended_at) - date_part('epoch', started_at), 3) AS seconds,
    CAST(json_extract_string(summary, '$.pages_added') AS BIGINT) AS pages_added,
    CAST(json_extract_string(summary, '$.pages_failed') AS BIGINT) AS pages_failed
FROM runs;
