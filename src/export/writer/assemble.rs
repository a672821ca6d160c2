//! Assembles the zip from deflated blocks: adds headers, data descriptors, and at the end the central directory.

use std::sync::mpsc::{Receiver, Sender, SyncSender};
use std::time::SystemTime;

use super::deflate::{BLOCK, DeflatedBlock};
use super::segment_cutter::SegmentCutter;
use super::{Staged, WrittenMember};
use crate::crypto::Sha256;
use crate::format::seek_table::SeekTableBuilder;
use crate::format::zip::write::{
    DiskPosition, ListedMember, Sizes, WrittenDirectory, central_header, descriptor, end_records,
    local_header,
};

/// What comes next in the zip.
pub(crate) enum Event {
    Start(Box<str>),
    /// A block of the member that was started last, once it has been deflated.
    Block(Receiver<DeflatedBlock>),
    Finish(SyncSender<WrittenMember>),
    End,
}

pub(crate) struct Assembler {
    segments: SegmentCutter,
    modified: SystemTime,
    listed: Vec<ListedMember>,
    member: Option<OpenMember>,
    /// Gives back content that is not needed any more, for its memory to be used again.
    spare: Sender<Vec<u8>>,
    scratch: Vec<u8>,
}

/// A member whose end has not come yet.
struct OpenMember {
    name: Box<str>,
    /// Place of its local header, which is written with the first block and has the sizes if that is also the last.
    place: Option<DiskPosition>,
    descriptor: bool,
    compressed: u64,
    crc: crc32fast::Hasher,
    size: u64,
    sha256: Sha256,
    seek_table: SeekTableBuilder,
}

impl OpenMember {
    fn new(name: Box<str>) -> OpenMember {
        OpenMember {
            name,
            place: None,
            descriptor: false,
            compressed: 0,
            crc: crc32fast::Hasher::new(),
            size: 0,
            sha256: Sha256::default(),
            seek_table: SeekTableBuilder::new(BLOCK),
        }
    }
}

impl Assembler {
    pub(crate) fn new(segments: SegmentCutter, modified: SystemTime, spare: Sender<Vec<u8>>) -> Assembler {
        Assembler { segments, modified, listed: Vec::new(), member: None, spare, scratch: Vec::new() }
    }

    /// Works until the end of the zip, or until the other ends of the channels have gone.
    pub(crate) fn run(mut self, events: Receiver<Event>) -> Staged<()> {
        loop {
            match events.recv()? {
                Event::Start(name) => self.member = Some(OpenMember::new(name)),
                Event::Block(block) => self.block(block.recv()?)?,
                Event::Finish(reply) => {
                    if let Some(member) = self.member.take() {
                        let member = self.finish_member(member)?;
                        // The caller waits for it, or has gone.
                        let _ = reply.send(member);
                    }
                }
                Event::End => return self.finish(),
            }
        }
    }

    fn block(&mut self, block: DeflatedBlock) -> Staged<()> {
        let Some(member) = &mut self.member else { return Ok(()) };
        let (compressed, size) = (block.compressed.len() as u64, block.content.len() as u64);
        if member.place.is_none() {
            let sizes = block.is_last.then_some(Sizes { crc: block.crc, compressed, size });
            self.scratch.clear();
            local_header(&mut self.scratch, &member.name, self.modified, sizes);
            member.place = Some(self.segments.record(&self.scratch)?);
            member.descriptor = sizes.is_none();
        }
        self.segments.data(&block.compressed)?;
        member.compressed += compressed;
        member.size += size;
        member.crc.combine(&crc32fast::Hasher::new_with_initial_len(block.crc, size));
        member.sha256.update(&block.content);
        member.seek_table.push(compressed, block.crc, size);
        let mut content = block.content;
        content.clear();
        let _ = self.spare.send(content);
        Ok(())
    }

    fn finish_member(&mut self, member: OpenMember) -> Staged<WrittenMember> {
        let sizes = Sizes { crc: member.crc.finalize(), compressed: member.compressed, size: member.size };
        if member.descriptor {
            self.scratch.clear();
            descriptor(&mut self.scratch, &sizes);
            self.segments.record(&self.scratch)?;
        }
        let mut extra = Vec::new();
        member.seek_table.write(&mut extra);
        self.listed.push(ListedMember {
            name: member.name.clone(),
            sizes,
            descriptor: member.descriptor,
            place: member.place.unwrap_or_default(),
            extra: extra.into(),
        });
        Ok(WrittenMember {
            name: member.name.into(),
            size: sizes.size,
            compressed: sizes.compressed,
            crc: sizes.crc,
            sha256: member.sha256.finish(),
        })
    }

    fn finish(mut self) -> Staged<()> {
        let rest = self.rest_len();
        if self.segments.is_unsplit_with(rest) {
            let less = self.segments.unsplit()?;
            self.listed.iter_mut().for_each(|member| member.place.offset -= less);
        }
        let mut directory = WrittenDirectory { start: self.segments.place(), ..WrittenDirectory::default() };
        let mut disk = directory.start.disk;
        for member in &self.listed {
            self.scratch.clear();
            central_header(&mut self.scratch, member, self.modified);
            let place = self.segments.record(&self.scratch)?;
            if directory.entries == 0 {
                directory.start = place;
            }
            if place.disk != disk {
                (disk, directory.entries_on_last) = (place.disk, 0);
            }
            directory.size += self.scratch.len() as u64;
            directory.entries += 1;
            directory.entries_on_last += 1;
        }
        let end = end_of(&directory, self.segments.place());
        let here = self.segments.place_for(end.len())?;
        if here.disk != disk {
            directory.entries_on_last = 0;
        }
        if directory.entries == 0 {
            directory.start = here;
        }
        self.segments.record(&end_of(&directory, here))?;
        self.segments.end()
    }

    /// Returns the length of the central directory and the end records, if all of them follow here.
    fn rest_len(&mut self) -> u64 {
        let mut directory = WrittenDirectory { start: self.segments.place(), ..WrittenDirectory::default() };
        for member in &self.listed {
            self.scratch.clear();
            central_header(&mut self.scratch, member, self.modified);
            directory.size += self.scratch.len() as u64;
            directory.entries += 1;
        }
        directory.size + end_of(&directory, directory.start).len() as u64
    }
}

fn end_of(directory: &WrittenDirectory, here: DiskPosition) -> Vec<u8> {
    let mut end = Vec::new();
    end_records(&mut end, directory, here);
    end
}
