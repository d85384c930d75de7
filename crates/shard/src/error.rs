use aegis_hal::ErrorKind;
use aegis_ring::LimbId;

/// Why devices cannot be made one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A device for each member of the group that is driven here.
    #[error("{have} devices for the {want} ranks that are driven here")]
    Devices {
        /// Devices passed.
        have: usize,
        /// Members driven here.
        want: usize,
    },
    /// The placement is for a group of another size.
    #[error("a placement on {have} members for a group of {want}")]
    Members {
        /// Members of the placement.
        have: usize,
        /// Members of the group.
        want: usize,
    },
    /// A group is too large, or empty.
    #[error("a placement on {0} members; 1 to {max} are possible", max = crate::Placement::MAX_MEMBERS)]
    Size(usize),
    /// The devices compute in other rings.
    #[error("device {0} computes in another ring than the first one")]
    Ring(usize),
    /// A limb lives nowhere.
    #[error("limb {} of the ring is placed on no member", .0.index())]
    Unplaced(LimbId),
    /// A limb is placed on a member that is not there.
    #[error("limb {} is placed on member {member} of {members}", .limb.index())]
    NoMember {
        /// The limb.
        limb: LimbId,
        /// Where it is placed.
        member: usize,
        /// Members that there are.
        members: usize,
    },
}

impl Error {
    /// Whose fault it is.
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::Input
    }
}
