//! The index of a text whose lines are not alike, made in one pass.

use super::{Extents, is_alphabet};

/// Positions of the characters of a text, and the number of bytes that they stand for.
#[derive(Debug, Clone)]
pub struct TextIndex {
    /// Character number to position in the text.
    pub chars: Extents,
    /// Bytes of content.
    pub len: u64,
    /// True for the alphabet of uuencode(1): value + 32, and a grave accent for 0.
    pub(crate) uuencoded: bool,
}

impl TextIndex {
    /// Turns characters into those of base64 where they are of the other alphabet.
    pub fn to_base64(&self, chars: &mut [u8]) {
        const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        if self.uuencoded {
            for c in chars {
                *c = ALPHABET[usize::from(c.wrapping_sub(b' ') & 63)];
            }
        }
    }
}

/// Makes a [`TextIndex`] from a text that is fed to it in pieces.
pub struct TextIndexer {
    index: TextIndex,
    at: u64,
    /// Position of the first character that is not in the index yet.
    piece: Option<u64>,
    /// Content bytes that the current line of a uuencoded text stands for; `None` between lines.
    uu_line: Option<u64>,
    padding: u64,
    line_is_blank: bool,
    blank_line_seen: bool,
    section: Section,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Section {
    /// In the `begin` line of a uuencoded text.
    UuBegin,
    Text,
    /// Behind the text.
    End,
}

impl TextIndexer {
    pub fn new(uuencoded: bool) -> TextIndexer {
        TextIndexer {
            index: TextIndex { chars: Extents::default(), len: 0, uuencoded },
            at: 0,
            piece: None,
            uu_line: None,
            padding: 0,
            line_is_blank: true,
            blank_line_seen: false,
            section: if uuencoded { Section::UuBegin } else { Section::Text },
        }
    }

    /// Bytes of memory that it takes.
    pub(crate) fn memory(&self) -> usize {
        self.index.chars.memory()
    }

    /// Takes the next bytes of the text. The error says what is wrong, and where in the text.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), String> {
        for &byte in bytes {
            match self.section {
                Section::End => return Ok(()),
                Section::UuBegin if byte == b'\n' => self.section = Section::Text,
                Section::UuBegin => {}
                Section::Text if self.index.uuencoded => self.uu_byte(byte)?,
                Section::Text => self.base64_byte(byte)?,
            }
            self.at += 1;
        }
        Ok(())
    }

    fn base64_byte(&mut self, byte: u8) -> Result<(), String> {
        match byte {
            b'=' => {
                self.padding += 1;
                self.piece.get_or_insert(self.at);
                self.line_is_blank = false;
            }
            _ if is_alphabet(byte) => {
                if self.padding > 0 {
                    return Err(format!(
                        "base64 goes on after its padding at character {} of the text",
                        self.at
                    ));
                }
                self.piece.get_or_insert(self.at);
                self.line_is_blank = false;
            }
            b'\n' => {
                self.end_piece()?;
                self.blank_line_seen |= self.line_is_blank;
                self.line_is_blank = true;
            }
            b'\r' | b' ' | b'\t' => self.end_piece()?,
            _ if self.line_is_blank && (self.padding > 0 || self.blank_line_seen) => {
                self.section = Section::End
            }
            _ => return Err(format!("no base64 at character {} of the text", self.at)),
        }
        Ok(())
    }

    /// A uuencoded line is its content length (+ 32) and 4 characters for every 3 bytes.
    fn uu_byte(&mut self, byte: u8) -> Result<(), String> {
        match (byte, self.uu_line) {
            (b'\r' | b'\n', _) => self.end_uu_line()?,
            (b' ' | b'`', None) => self.section = Section::End,
            (b'!'..=b'M', None) => self.uu_line = Some(u64::from(byte - b' ')),
            (b' '..=b'`', Some(_)) => {
                self.piece.get_or_insert(self.at);
            }
            _ => return Err(format!("no uuencoded text at character {} of it", self.at)),
        }
        Ok(())
    }

    fn end_uu_line(&mut self) -> Result<(), String> {
        let Some(bytes) = self.uu_line.take() else { return Ok(()) };
        if !self.index.len.is_multiple_of(3) {
            return Err("a short uuencoded line that is not the last".into());
        }
        let (start, needed) = (self.piece.take().unwrap_or(self.at), bytes.div_ceil(3) * 4);
        if self.at - start < needed {
            return Err(format!("a uuencoded line that is cut off at character {}", self.at));
        }
        self.index.len += bytes;
        self.index.chars.push(start, needed).map_err(|e| e.to_string())
    }

    fn end_piece(&mut self) -> Result<(), String> {
        if let Some(start) = self.piece.take() {
            self.index.chars.push(start, self.at - start).map_err(|e| e.to_string())?;
        }
        Ok(())
    }

    /// Returns the index of everything that was fed.
    pub fn finish(mut self) -> Result<TextIndex, String> {
        if self.index.uuencoded {
            self.end_uu_line()?;
            return Ok(self.index);
        }
        self.end_piece()?;
        let chars = self.index.chars.len();
        if !chars.is_multiple_of(4) || self.padding > 2 {
            return Err(format!("base64 of {chars} characters, which is not a multiple of 4 (cut off?)"));
        }
        self.index.len = chars / 4 * 3 - self.padding;
        Ok(self.index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(text: &[u8]) -> Result<TextIndex, String> {
        let mut indexer = TextIndexer::new(false);
        text.chunks(7).try_for_each(|piece| indexer.feed(piece))?;
        indexer.finish()
    }

    fn chars(text: &[u8]) -> Vec<u8> {
        let index = index(text).unwrap();
        let pieces = index.chars.range(0, u64::MAX);
        pieces.flat_map(|p| text[p.physical as usize..(p.physical + p.len) as usize].to_vec()).collect()
    }

    #[test]
    fn white_space_and_text_behind_do_not_matter() {
        assert_eq!(chars(b"AAAA \r\n\r\nBBBBCC\nCC\n"), b"AAAABBBBCCCC");
        assert_eq!(chars(b"AAAA\n\n--\nsent by a service\n"), b"AAAA");
        assert_eq!(index(b"AAAA\nBB==\n").unwrap().len, 4);
    }

    #[test]
    fn what_cannot_be_right_is_refused_with_its_place() {
        assert!(index(b"AAAA\nAA*A\n").unwrap_err().contains("character 7"));
        assert!(index(b"AA==\nAAAA\n").unwrap_err().contains("padding"));
        assert!(index(b"AAAA\nAA").unwrap_err().contains("multiple of 4"));
    }

    #[test]
    fn uuencoded_lines() {
        let text = b"begin 644 x\n#0V%T\n`\nend\n";
        let mut indexer = TextIndexer::new(true);
        indexer.feed(text).unwrap();
        let index = indexer.finish().unwrap();
        let piece = index.chars.range(0, 4).next().unwrap();
        let mut quantum = text[piece.physical as usize..][..4].to_vec();
        index.to_base64(&mut quantum);
        assert_eq!(base64_simd::STANDARD.decode_to_vec(&quantum).unwrap(), b"Cat");
        assert_eq!(index.len, 3);
    }
}
