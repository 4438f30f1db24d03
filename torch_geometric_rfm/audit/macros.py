r"""What the SQL of an audit is written in: the parsing rules, as DuckDB macros."""

MACROS = r"""
-- Microseconds to whole seconds, rounded down, before 1970 too.
CREATE MACRO floor_seconds(us) AS
    us // 1000000 - CASE WHEN us % 1000000 < 0 THEN 1 ELSE 0 END;

-- Unix seconds of a date; none outside the years 1678 to 2261.
CREATE MACRO date_seconds(x) AS CASE
    WHEN year(TRY_CAST(x AS TIMESTAMPTZ)) BETWEEN 1678 AND 2261
    THEN floor_seconds(epoch_us(TRY_CAST(x AS TIMESTAMPTZ))) END;

CREATE MACRO finite(x) AS CASE WHEN isfinite(x) THEN x END;

-- A number as graphs keep it, in single precision; infinite ones are missing.
CREATE MACRO as_number(x) AS
    finite(CAST(TRY_CAST(TRY_CAST(x AS DOUBLE) AS FLOAT) AS DOUBLE));

CREATE MACRO number_seconds(x) AS
    TRY_CAST(floor(finite(TRY_CAST(x AS DOUBLE))) AS BIGINT);

CREATE MACRO clip(x) AS greatest(-1e4, least(1e4, x));

-- The signed logarithm of the days between two times.
CREATE MACRO log_days(seconds) AS
    sign(seconds) * ln(1 + abs(CAST(seconds AS DOUBLE)) / 86400);

-- Not equal within single precision; also where either is missing.
CREATE MACRO differs(x, y) AS
    NOT coalesce(abs(x - y) <= 1e-5 * (1 + abs(y)), FALSE);

CREATE MACRO date_text(seconds) AS CASE
    WHEN abs(CAST(seconds AS DOUBLE)) < 1e11
    THEN CAST(make_timestamp(seconds * 1000000) AS VARCHAR)
    ELSE CAST(seconds AS VARCHAR) END;

CREATE MACRO number_text(x) AS printf('%.6g', CAST(x AS DOUBLE));
"""
