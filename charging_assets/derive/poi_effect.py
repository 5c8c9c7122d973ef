"""What is associated with how much charging points are used: the table `poi_effect`.

The points of a station that are of one power class are one observation, summed over all days. What is expected of it is

    observed point-days x level of the city x ratio of the power class x ratios of the categories that are near

with the variance of a negative binomial (of Poisson, where there is no more than that): stations differ by more than
chance, so a large one tells little more of its surroundings than a small one. Both outcomes follow this model, so both
ratios are ratios of what people ask for: events per point-day, and the share of time occupied (for which occupied time
is counted in events of mean length, else its variance would be no count's).

Stations of a neighbourhood are alike for more reasons than are known here. So intervals and p-values come from how much
a ratio changes where a block of about 5 km is left out (jackknife, CR3), and from Student's t of as many degrees of
freedom as there are blocks but one: they are robust against whatever the variance really is, and against whatever the
stations of a block have in common. Neighbours across the edge of a block count as strangers.

What to mind:
- A ratio is an association and not a cause: nobody has put stations beside shops at random, and what else is near is
  known as far as the other categories go.
- Ratios of events between power classes include that polls miss more of the short events: at ten minutes about 9 % of
  those at DC, 6 % at AC.
- p-values are corrected for how many terms there are (Holm), intervals are not: of twenty ratios that are truly 1, one
  has an interval without it. Such an interval is no finding yet.
- There is no term for the season: stations that were observed in other months than the rest differ by that too.

Belongs here: the model, and which figures it may be asked for. Does not belong here: what is near (`station_pois`), and
what utilization and events are (`occupancy`).
"""

import datetime as dt
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from charging_assets.lake import Lake
from charging_assets.model.arrow import arrow_schema
from charging_assets.model.tables.occupancy import POI_OUTCOMES

DAYS = 365
"""Of figures that are used, at most."""

NEAR_M = 100
"""Within which a point of interest is near: a minute or two on foot."""

LEAST_STATIONS = 20
"""A term needs so many stations with it, and so many without: from fewer no interval can be trusted."""
LEAST_BLOCKS = 10
"""These must lie in so many blocks (`BLOCK_DEGREES`): in fewer, a term and a neighbourhood are hardly told apart."""

CITY_STATIONS = 10
"""A city of so many stations has a level of its own; the smaller ones have one together."""
CITIES = 80
"""At most so many cities have a level of their own, the largest ones: what it takes grows with their square."""

FOLDS = 5
BLOCK_DEGREES = (0.07, 0.045)
"""Of longitude and latitude, about 5 km: such blocks are left out whole, for errors and to see what is predicted."""

CONFIDENCE = 0.95
"""Of intervals."""
SIGNIFICANT = 0.05

Floats = NDArray[np.float64]
Longs = NDArray[np.int64]
Mask = NDArray[np.bool_]

_MOST_LOG_RATIO = 7.0
"""A larger one, of 1,097 times, is no estimate: some term has nothing to be told by."""
_SINGULAR = 1e-8
_ITERATIONS = 60
_ROUNDS = 2
"""Of mean and dispersion in turn: a third changes ratios by less than a thousandth of their error."""
_DIGITS = 6
"""Of figures: later ones depend on the machine."""
_INSEPARABLE = "It goes along with other terms or with cities: nothing tells them apart."
_NO_ESTIMATE = "The figures give no estimate: they are too few, too much alike, or some are far off all others."
_UNPROVEN = "No finding: it does not help to predict places that were left out."


def poi_effect(lake: Lake) -> pa.Table:
    """Ratios of events per point-day and of utilization, by what is near and by power class.

    Only points are used of which station, place, power class and surroundings are known, and that were observed. One
    whose power class or city changed counts with the last.

    Args:
        lake: whose `kpi_daily` (the last 365 days of it), `charging_point`, `charging_station` and
            `station_poi_features` are read.

    Returns:
        Rows of `poi_effect`, sorted by its key; none where there are no such points. A term whose ratio cannot be
        estimated has nulls and a remark.

    Raises:
        LakeError: the lake cannot be read.
    """
    schema = arrow_schema("poi_effect")
    data = _read(lake)
    if data is None:
        return schema.empty_table()
    # What fails is told in its row. Recorded, since statsmodels has its warnings always shown, whatever is ignored.
    with warnings.catch_warnings(record=True), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        rows = [row for outcome in POI_OUTCOMES for row in _rows(outcome, _model(data.sites, outcome))]
    dates = {"first_date": data.first_date, "last_date": data.last_date}
    judged = sorted(_judged(rows), key=lambda row: (row["outcome"], row["term"]))
    return pa.Table.from_pylist([{**row, **dates} for row in judged], schema)


# -- what is known ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Sites:
    """Observations: the points of a station that are of one power class. Columns of one length."""

    id_cs: Longs
    city: NDArray[np.str_]
    """Empty where it is not known."""
    power_class: NDArray[np.str_]
    block: Longs
    """Of places that are left out together."""
    points: Longs
    days: Floats
    """Observed point-days."""
    events: Floats
    occupied_days: Floats
    near: Mask
    """Whether something of a category is near, shape (observations, categories)."""
    categories: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.id_cs)

    def where(self, chosen: Mask) -> "_Sites":
        """Some of them."""
        columns = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: value[chosen] for name, value in columns.items() if name != "categories"})

    def stations(self, chosen: Mask) -> int:
        """How many stations some of them are at."""
        return len(np.unique(self.id_cs[chosen]))

    def blocks(self, chosen: Mask) -> int:
        """How many blocks some of them are in."""
        return len(np.unique(self.block[chosen]))

    def outcome(self, outcome: str) -> Floats:
        """What is to be explained, in events."""
        if outcome == "events" or not self.occupied_days.any():
            return self.events
        # Without any event that ended, a day is as good a unit as another.
        return self.occupied_days * (self.events.sum() / self.occupied_days.sum() if self.events.any() else 1.0)


class _Data(NamedTuple):
    sites: _Sites
    first_date: dt.date
    last_date: dt.date


_SITES = """
    WITH point AS (
        SELECT scope_id AS id_cp, arg_max(city, query_date) AS city, arg_max(power_class, query_date) AS power_class,
            sum(events - censored_events) AS events, sum(occupied_s) / 86400 AS occupied_days,
            sum(occupied_s + free_s + fault_s) / 86400 AS days
        FROM read_parquet($kpis) WHERE scope = 'point' AND query_date >= $first GROUP BY scope_id
    )
    SELECT id_cs, point.power_class, coalesce(arg_max(point.city, id_cp), '') AS city,
        floor(any_value(longitude) / $east)::BIGINT AS east, floor(any_value(latitude) / $north)::BIGINT AS north,
        count(*) AS points, sum(days) AS days, sum(events)::DOUBLE AS events, sum(occupied_days) AS occupied_days
    FROM point
        JOIN read_parquet($points) AS its_point USING (id_cp)
        JOIN read_parquet($stations) AS its_station USING (id_cs)
    WHERE days > 0 AND point.power_class IS NOT NULL AND longitude IS NOT NULL AND latitude IS NOT NULL
        AND id_cs IN (SELECT id_cs FROM read_parquet($features))
    GROUP BY id_cs, point.power_class ORDER BY id_cs, point.power_class
"""


def _read(lake: Lake) -> _Data | None:
    """All observations; None where there are none."""
    import duckdb  # noqa: PLC0415 - slow, and the graph is loaded without it

    tables = {
        "kpis": "kpi_daily",
        "points": "charging_point",
        "stations": "charging_station",
        "features": "station_poi_features",
    }
    dates = lake.partitions("kpi_daily")[-DAYS:]
    dates = [date for date in dates if date > dates[-1] - dt.timedelta(days=DAYS)]
    with lake.snapshot(tables.values()) as paths:
        if not dates or not all(paths.values()):
            return None
        parameters: dict[str, Any] = {name: paths[table] for name, table in tables.items()}
        parameters |= {"first": dates[0], "east": BLOCK_DEGREES[0], "north": BLOCK_DEGREES[1]}
        # Descriptors' paths are used again for other files, so nothing may be remembered by path.
        with duckdb.connect(":memory:", config={"enable_external_file_cache": False}) as connection:
            rows: pa.Table = connection.sql(_SITES, params=parameters).to_arrow_table()
    if not rows.num_rows:
        return None
    column = {name: rows[name].to_numpy() for name in rows.column_names}
    near, categories = _near(lake, column["id_cs"])
    _, block = np.unique(np.column_stack([column["east"], column["north"]]), axis=0, return_inverse=True)
    sites = _Sites(
        id_cs=column["id_cs"],
        city=column["city"].astype(np.str_),
        power_class=column["power_class"].astype(np.str_),
        block=block.ravel(),
        points=column["points"],
        days=column["days"],
        events=column["events"],
        occupied_days=column["occupied_days"],
        near=near,
        categories=categories,
    )
    return _Data(sites, dates[0], dates[-1])


def _near(lake: Lake, id_cs: Longs) -> tuple[Mask, tuple[str, ...]]:
    """Whether something of each category is near these stations; and the categories."""
    features = lake.read("station_poi_features", None, ["id_cs", "poi_category", f"count_{NEAR_M}m"])
    categories = sorted(pc.unique(features["poi_category"]).to_pylist())
    stations, site = np.unique(id_cs, return_inverse=True)
    is_near = pc.and_(
        pc.greater(features[f"count_{NEAR_M}m"], 0), pc.is_in(features["id_cs"], value_set=pa.array(stations))
    )
    features = features.filter(is_near)
    texts = features["poi_category"].cast(pa.string())
    category = pc.index_in(texts, value_set=pa.array(categories, pa.string())).to_numpy()
    near = np.zeros((len(stations), len(categories)), bool)
    near[np.searchsorted(stations, features["id_cs"].to_numpy()), category] = True
    return near[site], tuple(categories)


# -- what may be asked ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Model:
    """A question that can be answered."""

    sites: _Sites
    """Those whose power class can be compared."""
    outcome: Floats
    """What is explained, per observation, in events."""
    reference: str
    """Power class that the others are against."""
    is_with: dict[str, Mask]
    """Which observations have a term; of all terms."""
    remarks: dict[str, str]
    """Why a term is not estimated."""

    @property
    def terms(self) -> list[str]:
        """Those that are estimated."""
        return [name for name in self.is_with if name not in self.remarks]

    def columns(self, *, without: str = "") -> Floats:
        """The estimated terms as columns of a design, but for those of a kind."""
        chosen = [self.is_with[name] for name in self.terms if not without or _kind(name) != without]
        return np.column_stack([np.zeros((len(self.sites), 0)), *chosen])


def _kind(term: str) -> str:
    """`poi` or `power`."""
    return term.partition(":")[0]


def _model(sites: _Sites, outcome: str) -> _Model:
    """The terms that there are, and those of them that can be estimated."""
    amount = sites.outcome(outcome)
    names, power = np.unique(sites.power_class, return_inverse=True)
    is_of = {name: power == number for number, name in enumerate(names.tolist())}
    # The one of most stations, of those where anything happened.
    reference = max(is_of, key=lambda name: (bool(amount[is_of[name]].any()), sites.stations(is_of[name]), name))
    remarks = {}
    is_modelled = np.ones(len(sites), bool)
    others = [name for name in is_of if name != reference]
    for name in others:
        if (why := _why_not(sites, amount, is_of[name])) is not None:
            remarks[f"power:{name}"] = f"{why} Its points are in no model."
            is_modelled &= ~is_of[name]
    modelled, amount = sites.where(is_modelled), amount[is_modelled]
    is_with = {f"poi:{name}": modelled.near[:, number] for number, name in enumerate(sites.categories)}
    for term, mask in is_with.items():
        if (why := _why_not(modelled, amount, mask)) is not None:
            remarks[term] = why
    is_with |= {f"power:{name}": is_of[name][is_modelled] for name in others}
    model = _Model(modelled, amount, reference, is_with, remarks)
    return replace(model, remarks=remarks | dict.fromkeys(_inseparable(model), _INSEPARABLE))


def _why_not(sites: _Sites, amount: Floats, is_with: Mask) -> str | None:
    """Why a term cannot be estimated, in a sentence; None: it can."""
    for mask, which in ((is_with, "with it"), (~is_with, "without it")):
        if (stations := sites.stations(mask)) < LEAST_STATIONS:
            return f"Expected at least {LEAST_STATIONS} stations {which}, there are {stations}."
        if (blocks := sites.blocks(mask)) < LEAST_BLOCKS:
            return f"Expected stations {which} in at least {LEAST_BLOCKS} blocks of about 5 km, they are in {blocks}."
        if not amount[mask].any():
            return f"Nothing ever happened at the stations {which}."
    return None


def _inseparable(model: _Model) -> list[str]:
    """Estimated terms that are sums of others and of cities."""
    levels = _indicators(_levels(model.sites, model.outcome))
    design = np.column_stack([levels, model.columns()])
    design /= np.sqrt((design**2).sum(axis=0))
    values, vectors = np.linalg.eigh(design.T @ design)
    is_part = (np.abs(vectors[:, values < _SINGULAR]) > np.sqrt(_SINGULAR)).any(axis=1)
    return [term for term, is_one in zip(model.terms, is_part[levels.shape[1] :], strict=True) if is_one]


def _levels(sites: _Sites, amount: Floats, known: Mask | None = None) -> Longs:
    """Number of the level of each observation's city, judged by those that are known.

    Cities too small to tell their level have one together. Something happened at known ones of each level.
    """
    known = np.ones(len(sites), bool) if known is None else known
    names, city = np.unique(sites.city, return_inverse=True)
    of_stations = np.unique(np.column_stack([city, sites.id_cs])[known], axis=0)[:, 0]
    stations = np.bincount(of_stations, minlength=len(names))
    stations[names == ""] = 0
    is_own = (stations >= CITY_STATIONS) & (np.bincount(city[known], amount[known], len(names)) > 0)
    largest = np.argsort(-stations, kind="stable")
    is_own[largest[CITIES:]] = False
    level = np.where(is_own[city], city + 1, 0)
    if is_own.any() and not amount[known & (level == 0)].any():
        level[level == 0] = largest[is_own[largest]][0] + 1
    numbers: Longs = np.unique(level, return_inverse=True)[1]
    return numbers


def _indicators(number: Longs) -> Floats:
    """A column of zeros and ones for each number."""
    columns: Floats = np.eye(int(number.max(initial=0)) + 1)[number]
    return columns


# -- what the answer is -----------------------------------------------------------------------------------------------


class _Estimates(NamedTuple):
    """Of those terms of a model that have one."""

    of_terms: dict[str, tuple[float, float, float]]
    """Logarithm of the ratio, half the width of its interval, p-value."""
    dispersion: float
    """Variance = mean + dispersion x mean squared."""


def _estimated(model: _Model) -> _Estimates | None:
    """None: there is no solution."""
    from statsmodels.stats.contrast import ContrastResults  # noqa: PLC0415 - slow, and the graph is loaded without it

    level, columns = _levels(model.sites, model.outcome), model.columns()
    dispersion = 0.0
    for _ in range(_ROUNDS):
        fit = _fit(model.outcome, level, columns, model.sites.days, dispersion)
        if fit is None:
            return None
        dispersion = _dispersion(model.outcome, fit.fittedvalues, len(fit.params))
    fit = _fit(model.outcome, level, columns, model.sites.days, dispersion)
    if fit is None:
        return None
    freedom = model.sites.blocks(np.ones(len(model.sites), bool)) - 1
    error = _errors(fit, dispersion, model.sites.block)
    tested = ContrastResults(effect=fit.params, sd=error, t=fit.params / error, df_denom=freedom)
    half = tested.conf_int(1 - CONFIDENCE)[:, 1] - fit.params
    columns_of = zip(fit.params.tolist(), half.tolist(), tested.pvalue.tolist(), strict=True)
    of_terms = dict(zip(model.terms, list(columns_of)[-len(model.terms) :], strict=True))
    # Without an error there is no interval: nothing varies but by the term. One that is no number fails both.
    told = {
        term: figures
        for term, figures in of_terms.items()
        if figures[1] > _SINGULAR and abs(figures[0]) + figures[1] < _MOST_LOG_RATIO
    }
    return _Estimates(told, dispersion)


def _errors(fit: Any, dispersion: float, block: Longs) -> Floats:
    """Standard errors of parameters: from how much each of them changes with each block left out, in one step.

    An error from residuals (the usual cluster-robust one) is too small where blocks are few or unlike: a block pulls
    the fit towards itself, and so has small residuals.
    """
    design, mean = fit.model.exog, fit.fittedvalues
    weight = mean / (1 + dispersion * mean)
    scores = design * ((fit.model.endog - mean) / (1 + dispersion * mean))[:, None]
    information = design.T @ (design * weight[:, None])
    # A city that lies in one block has no level without it; with this its level then just does not matter.
    ridge = np.diag(_SINGULAR * np.diag(information))
    order = np.argsort(block, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(block[order])) + 1)
    squares = np.zeros(len(information))
    for group in groups:
        its_own = design[group].T @ (design[group] * weight[group, None])
        squares += np.linalg.solve(information - its_own + ridge, scores[group].sum(axis=0)) ** 2
    errors: Floats = np.sqrt((len(groups) - 1) / len(groups) * squares)
    return errors


def _fit(outcome: Floats, level: Longs, columns: Floats, days: Floats, dispersion: float) -> Any:
    """The result of statsmodels, with the terms as the last parameters; None where there is none."""
    from statsmodels.genmod import families  # noqa: PLC0415 - slow, and the graph is loaded without it
    from statsmodels.genmod.generalized_linear_model import GLM  # noqa: PLC0415

    family = families.NegativeBinomial(alpha=dispersion) if dispersion else families.Poisson()
    design = np.column_stack([_indicators(level), columns])
    model = GLM(outcome, design, family=family, offset=np.log(days), hasconst=True)  # the levels add up to one
    per_day = np.bincount(level, outcome) / np.bincount(level, days)
    start = np.concatenate([np.log(per_day), np.zeros(columns.shape[1])])
    try:
        fit = model.fit(start, method="newton", maxiter=_ITERATIONS, disp=0)
    except (np.linalg.LinAlgError, ValueError):  # it ran away: what it found then is not finite
        return None
    return fit if fit.mle_retvals["converged"] and np.isfinite(fit.params).all() else None


def _dispersion(outcome: Floats, mean: Floats, parameters: int) -> float:
    """With which squared residuals are as large as expected (Breslow 1984); 0 where Poisson's are large enough."""
    freedom = len(outcome) - parameters
    squares = (outcome - mean) ** 2 / mean
    dispersion = 0.0
    for _ in range(_ITERATIONS):  # Newton's: from below, it never steps over the solution
        variance = 1 + dispersion * mean
        excess = (squares / variance).sum() - freedom
        if excess <= _SINGULAR * len(outcome):
            break
        dispersion += excess / (squares * mean / variance**2).sum()
    return float(dispersion)


def _skills(model: _Model, dispersion: float) -> dict[str, float]:
    """By kind of terms, the share of the deviance of blocks left out that they explain; none: it cannot be told."""
    from statsmodels.genmod import families  # noqa: PLC0415 - slow, and the graph is loaded without it

    family = families.NegativeBinomial(alpha=dispersion) if dispersion else families.Poisson()
    designs = {without: model.columns(without=without) for without in ("", *map(_kind, model.terms))}
    deviance = dict.fromkeys(designs, 0.0)
    fold = _folds(model.sites)
    for number in range(fold.max() + 1):
        known = fold != number
        if not model.outcome[known].any():  # all that happened was in these blocks
            return {}
        level = _levels(model.sites, model.outcome, known)
        for without, columns in designs.items():
            fit = _fit(model.outcome[known], level[known], columns[known], model.sites.days[known], dispersion)
            if fit is None:
                return {}
            design = np.column_stack([_indicators(level), columns])[~known]
            mean = model.sites.days[~known] * np.exp(design @ fit.params)
            deviance[without] += family.deviance(model.outcome[~known], mean)
    skills = {without: 1 - deviance[""] / rest for without, rest in deviance.items() if without}
    return {kind: float(skill) for kind, skill in skills.items() if np.isfinite(skill)}


def _folds(sites: _Sites) -> Longs:
    """Which observations are left out together: whole blocks, as many stations in each fold as can be."""
    blocks, block = np.unique(sites.block, return_inverse=True)
    sizes = np.bincount(block)
    fold_of, held = np.zeros(len(blocks), np.int64), np.zeros(FOLDS)
    for number in np.argsort(-sizes, kind="stable"):
        fold_of[number] = held.argmin()
        held[fold_of[number]] += sizes[number]
    folds: Longs = fold_of[block]
    return folds


# -- the table --------------------------------------------------------------------------------------------------------


def _rows(outcome: str, model: _Model) -> Iterator[dict[str, Any]]:
    """A row for each term, its p-value not yet corrected."""
    sites, terms = model.sites, model.terms
    found = _estimated(model) if terms else None
    skills = _skills(model, found.dispersion) if found else {}
    for term, is_with in model.is_with.items():
        row: dict[str, Any] = {
            "outcome": outcome,
            "term": term,
            "p_value": None,
            "points": int(sites.points.sum()),
            "points_with": int(sites.points[is_with].sum()),
            "stations": len(np.unique(sites.id_cs)),
            "point_days": round(float(sites.days.sum()), _DIGITS),
            "family": "negative_binomial" if found and found.dispersion else "poisson",
            "skill": _rounded(skills.get(_kind(term))),
            "reference": f"none within {NEAR_M} m" if _kind(term) == "poi" else model.reference,
            "remark": model.remarks.get(term),
        }
        if found and term in found.of_terms:
            log_ratio, half, row["p_value"] = found.of_terms[term]
            for name, shift in (("rate_ratio", 0.0), ("rate_ratio_low", -half), ("rate_ratio_high", half)):
                row[name] = _rounded(np.exp(log_ratio + shift))
        elif term in terms:
            row["remark"] = _NO_ESTIMATE
        yield row


def _judged(rows: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Rows with p-values corrected for how many there are, and which of them is a finding."""
    from statsmodels.stats.multitest import multipletests  # noqa: PLC0415 - slow, and the graph is loaded without it

    tested = [row["p_value"] for row in rows if row["p_value"] is not None]
    corrected = iter(multipletests(tested, method="holm")[1].tolist() if tested else ())
    for row in rows:
        p_value = None if row["p_value"] is None else _rounded(next(corrected))
        is_likely = p_value is not None and p_value < SIGNIFICANT
        is_finding = is_likely and row["skill"] is not None and row["skill"] > 0
        remark = row["remark"] if is_finding or not is_likely else _UNPROVEN
        yield {**row, "p_value": p_value, "is_finding": is_finding, "remark": remark}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(float(value), _DIGITS)
