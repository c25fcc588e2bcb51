//! Samples and their median.

/// One run of a workload, in nanoseconds an operation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) wall: f64,
    pub(crate) cpu: f64,
}

/// All samples of one workload.
#[derive(Default)]
pub(crate) struct Samples {
    pub(crate) without: Vec<Sample>,
    pub(crate) with: Vec<Sample>,
    /// CPU time of system-probe, nanoseconds an operation, one number a round.
    pub(crate) probe_cpu: Vec<f64>,
}

/// The middle of the numbers; the mean of the two middle ones where their count is even; not a number without any.
pub(crate) fn median(numbers: impl IntoIterator<Item = f64>) -> f64 {
    let mut numbers: Vec<f64> = numbers.into_iter().collect();
    numbers.sort_by(f64::total_cmp);
    let middle = numbers.len() / 2;
    match (numbers.len(), numbers.get(middle)) {
        (0, _) | (_, None) => f64::NAN,
        (count, Some(high)) if count % 2 == 0 => (numbers[middle - 1] + high) / 2.0,
        (_, Some(number)) => *number,
    }
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn median_of_few() {
        assert!(median([]).is_nan());
        assert_eq!(median([3.0]), 3.0);
        assert_eq!(median([9.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([1.0, 4.0, 2.0, 3.0]), 2.5);
    }
}
