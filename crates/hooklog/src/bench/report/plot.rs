//! Plots as SVG text.
//!
//! **Invariant:** nothing is drawn of figures that are not finite or, on a logarithmic axis, not above
//! zero; no plot names an outside host.
//! **Next:** the end; `html.rs` puts them into a page.

use plotters::prelude::*;

/// Size of a plot; the page scales it.
const SIZE: (u32, u32) = (640, 300);
/// Ours first, then the limit.
const COLORS: [RGBColor; 2] = [RGBColor(31, 90, 166), RGBColor(190, 110, 30)];
/// Room for the numbers of an axis.
const LABELS: u32 = 60;

/// A line with its name.
pub(super) struct Line<'a> {
    pub(super) name: &'a str,
    pub(super) points: Vec<(f64, f64)>,
}

/// What an axis shows.
#[derive(Clone, Copy)]
pub(super) struct Axis<'a> {
    pub(super) name: &'a str,
    pub(super) is_logarithmic: bool,
}

/// Draws lines over one another; `None` if there is nothing to be seen.
pub(super) fn lines(
    title: &str,
    x: Axis<'_>,
    y: Axis<'_>,
    lines: &[Line<'_>],
    label_x: &dyn Fn(&f64) -> String,
) -> anyhow::Result<Option<String>> {
    let is_shown = |point: &&(f64, f64)| {
        let fits =
            |value: f64, axis: Axis<'_>| value.is_finite() && (!axis.is_logarithmic || value > 0.0);
        fits(point.0, x) && fits(point.1, y)
    };
    let shown: Vec<(&str, Vec<(f64, f64)>)> = lines
        .iter()
        .map(|line| {
            (
                line.name,
                line.points.iter().filter(is_shown).copied().collect(),
            )
        })
        .collect();
    let all = || shown.iter().flat_map(|(_, points)| points.iter().copied());
    let (Some(xs), Some(ys)) = (range(all().map(|p| p.0), x), range(all().map(|p| p.1), y)) else {
        return Ok(None);
    };
    // The names stand on the left, where the lines are not.
    let firsts = shown.iter().filter_map(|(_, points)| points.first());
    let position = if firsts
        .map(|point| share(point.1, ys, y))
        .any(|share| share > 0.5)
    {
        SeriesLabelPosition::LowerLeft
    } else {
        SeriesLabelPosition::UpperLeft
    };
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        let mut builder = ChartBuilder::on(&root);
        builder
            .caption(title, ("sans-serif", 16))
            .margin(8)
            .x_label_area_size(LABELS * 2 / 3)
            .y_label_area_size(LABELS);
        // The kinds of axes are types of their own.
        macro_rules! draw {
            ($xs:expr, $ys:expr) => {{
                let mut chart = builder.build_cartesian_2d($xs, $ys)?;
                chart
                    .configure_mesh()
                    .x_desc(x.name)
                    .y_desc(y.name)
                    .x_label_formatter(&|value| label_x(value))
                    .y_label_formatter(&|value| super::table::number(*value))
                    .light_line_style(WHITE)
                    .draw()?;
                for ((name, points), color) in shown.into_iter().zip(COLORS.iter().cycle()) {
                    let line = LineSeries::new(points, color.stroke_width(2));
                    let sample = move |(x, y)| PathElement::new([(x, y), (x + 16, y)], color);
                    chart.draw_series(line)?.label(name).legend(sample);
                }
                chart
                    .configure_series_labels()
                    .background_style(WHITE.mix(0.8))
                    .position(position)
                    .draw()?;
            }};
        }
        match (x.is_logarithmic, y.is_logarithmic) {
            (true, true) => draw!((xs.0..xs.1).log_scale(), (ys.0..ys.1).log_scale()),
            (true, false) => draw!((xs.0..xs.1).log_scale(), ys.0..ys.1),
            (false, true) => draw!(xs.0..xs.1, (ys.0..ys.1).log_scale()),
            (false, false) => draw!(xs.0..xs.1, ys.0..ys.1),
        }
        root.present()?;
    }
    // Within a page the elements need no namespace, and the page then names no host at all.
    Ok(Some(
        svg.replace(" xmlns=\"http://www.w3.org/2000/svg\"", ""),
    ))
}

/// How far up an axis a value stands, from 0 to 1.
fn share(value: f64, (low, high): (f64, f64), axis: Axis<'_>) -> f64 {
    if axis.is_logarithmic {
        (value / low).ln() / (high / low).ln()
    } else {
        (value - low) / (high - low)
    }
}

/// From the lowest to the highest, never empty; a linear axis begins at zero.
fn range(values: impl Iterator<Item = f64> + Clone, axis: Axis<'_>) -> Option<(f64, f64)> {
    let low = values.clone().min_by(f64::total_cmp)?;
    let high = values.max_by(f64::total_cmp)?;
    Some(if axis.is_logarithmic {
        (low * 0.8, high * 1.25)
    } else {
        (low.min(0.0), if high > 0.0 { high * 1.1 } else { 1.0 })
    })
}
