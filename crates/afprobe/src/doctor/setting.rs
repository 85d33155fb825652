//! The card's timestamp setting: borrowed for the examination, given back, and looked at again.

use fast_afpacket::{GivenBack, Hwtstamp, Interface, NicLoan, NicRefusal, RxFilter, TxMode};

/// The widest first: what the card stamps is to be seen, not only what a PTP daemon needs.
const RX_FILTERS: [RxFilter; 5] =
    [RxFilter::ALL, RxFilter::PTP_V2_EVENT, RxFilter::PTP_V2_L2_EVENT, RxFilter::PTP_V2_L4_EVENT, RxFilter::NONE];

/// What the card was set to before, during and after.
#[derive(Clone, Debug, Default)]
pub(super) struct Setting {
    /// `None`: the card has none, or does not tell it.
    pub(super) before: Option<Hwtstamp>,
    pub(super) used: Option<Hwtstamp>,
    pub(super) after: Option<Hwtstamp>,
    pub(super) is_borrowed: bool,
    /// Why hardware stamps could not be switched on.
    pub(super) refusal: Option<NicRefusal>,
    /// What went wrong at giving it back.
    pub(super) trouble: Option<String>,
}

/// A setting that will be given back.
pub(super) struct Borrowed {
    loan: Option<NicLoan>,
    setting: Setting,
}

impl Borrowed {
    /// Takes the widest setting that can be had. Where none can, what is set is left as it is.
    pub(super) fn take(interface: &Interface) -> anyhow::Result<Self> {
        let before = interface.hwtstamp()?;
        let mut setting = Setting { before, used: before, ..Setting::default() };
        for rx in RX_FILTERS {
            match NicLoan::take(interface, Hwtstamp::new(TxMode::ON, rx)) {
                Ok(loan) => {
                    setting.used = Some(loan.in_force());
                    setting.is_borrowed = loan.is_borrowed();
                    setting.refusal = None;
                    return Ok(Self { loan: Some(loan), setting });
                }
                Err(error) => setting.refusal = Some(error.nic_refusal().unwrap_or(NicRefusal::Other(0))),
            }
            // With another filter these are the same.
            if matches!(setting.refusal, Some(NicRefusal::NotPermitted | NicRefusal::Unsupported)) {
                break;
            }
        }
        Ok(Self { loan: None, setting })
    }

    /// Gives it back, and trusts nobody about that: what is set then is read.
    pub(super) fn give_back(self, interface: &Interface) -> Setting {
        let mut setting = self.setting;
        let back = self.loan.map(NicLoan::give_back);
        let after = interface.hwtstamp();
        let differs = !matches!(&after, Ok(after) if *after == setting.before);
        let [before, now] = [setting.before, after.as_ref().ok().copied().flatten()].map(in_words);
        let change = format!("{before} before, {now} now");
        setting.trouble = match (back, after.as_ref().err()) {
            (Some(Err(error)), _) => Some(format!(
                "the card's setting could not be given back ({error}): afprobe nic restore tries it again"
            )),
            (_, Some(error)) => Some(format!("what the card is set to now cannot be read: {error}")),
            (Some(Ok(GivenBack::StillHeld)), _) if differs => {
                Some(format!("another program has borrowed the card's setting too, and will give it back: {change}"))
            }
            (Some(Ok(GivenBack::TakenOver(_))), _) => {
                Some(format!("the card's setting was left to another program, which uses it since: {change}"))
            }
            _ if differs => Some(format!("the card's setting is not what it was: {change}")),
            _ => None,
        };
        setting.after = after.ok().flatten();
        setting
    }
}

pub(super) fn in_words(setting: Option<Hwtstamp>) -> String {
    setting.map_or_else(|| "no setting".to_owned(), |setting| setting.to_string())
}
